// MembershipResolver: asks Redis whether passkeys (or info hashes) the cache does not know are members of a set, and keeps
// the cache honest when the set changes. Owns a thread and a cache; workers hand questions in and are told when the
// answers are in the cache. No thread waits for it.

import Linux
import Redis
import Synchronization
import Wire

/// What a set is asked about.
enum SetMember: Sendable {
  case passkey(Passkey)
  case infoHash(InfoHash)

  /// The member as it stands in the set: the passkey, or 40 lower-case hex digits.
  var text: String {
    switch self {
    case .passkey(let passkey): passkey.text
    case .infoHash(let infoHash): infoHash.hex
    }
  }
}

/// One question, as a hook asks it.
struct MembershipQuestion {
  let resolver: MembershipResolver
  let key: UserKey
  let member: SetMember
  /// Who pays for it.
  let source: HostNetwork
  /// Whether the cache has a yes of it, out of date: such a question never keeps a user waiting for long.
  var isKnown = false
}

/// Who asked, and is told when there is an answer: a worker's pipeline.
protocol AnswerReceiver: AnyObject, Sendable {
  /// The look-ups of these keys have ended, as well as they could: what there is to know is in the cache. Any thread;
  /// returns at once.
  func lookedUp(_ keys: [UserKey])
}

/// What a resolver asks and how.
struct MembershipRules: Sendable {
  var endpoint: RedisEndpoint
  var timeouts: RedisTimeouts
  /// The Redis set.
  var setKey: String
  /// For logs and metrics: `passkey`, `torrent`.
  var name: String
  /// Asked about what the set does not have; nil: such a key is refused.
  var origin: OriginCheck?
  /// Look-ups of one source that wait at once, of keys that the cache does not know; nil: only the room decides.
  var maximumWaitingPerSource: Int?
  /// How long a missing set is taken for one that is being refreshed: two RENAMEs are apart by milliseconds.
  var missingSetPatienceNanoseconds: UInt64 = 1_000_000_000
}

/// The thread between a hook and Redis.
final class MembershipResolver: HookService {
  /// A question that waits, and who asked.
  struct Waiting: Sendable {
    let member: SetMember
    let key: UserKey
    let source: HostNetwork
    /// Nil: nobody waits, the user has been answered.
    let receiver: (any AnswerReceiver)?
    var isKnown = false
  }

  /// The last word from Redis.
  private enum Reach: UInt8, AtomicRepresentable {
    case unknown
    case reachable
    /// An answer is taking longer than `patienceMilliseconds`.
    case late
    case away
  }

  /// Questions that wait for the resolver's thread.
  private struct Line {
    /// Of users the cache knows.
    var known = Fifo<Waiting>()
    var unknown = FairQueue<Waiting>()
    /// Of others than known users, from the question to the answer, wherever it waits: here, for Redis, for the origin.
    var shares = SourceShares()

    var count: Int { known.count + unknown.count }
    mutating func popFirst() -> Waiting? { known.popFirst() ?? unknown.popFirst() }
  }
  /// The line, for the resolver and for the gauge that shows how long it is.
  private final class SharedLine: Sendable {
    let line = Mutex(Line())
  }

  /// What became of a question.
  enum Admission {
    case accepted
    /// Too many are waiting, or it is about a known user and Redis does not answer.
    case full
    /// Too many of its source are.
    case overBudget
  }

  /// Waiting questions, over all workers; more are turned away with "try again". A restart with a million users at once
  /// stays far below it, because answers take milliseconds.
  static let maximumWaiting = 262_144
  /// How long an answer of Redis, and then one of the origin, is awaited before the users whom the cache knows are answered
  /// without it: long for what is well, short for a client.
  static let patienceMilliseconds = 100

  let rules: MembershipRules
  let cache: ApprovalCache
  let metrics: MembershipMetrics
  private let waiting: SharedLine
  let originWaits = OriginWaits()
  private let overBudgetLog = Mutex(RareLog(pauseNanoseconds: 60_000_000_000))
  private let tooManyParkedLog = Mutex(RareLog(pauseNanoseconds: 60_000_000_000))
  private let mailbox: EventLoopMailbox
  private let thread = Mutex<NamedThread?>(nil)
  private let reach = Atomic(Reach.unknown)
  /// Why it is away.
  private let lastError = Mutex<String?>(nil)

  init(rules: MembershipRules, cache: ApprovalCache, metrics: MetricRegistry) throws(SystemError) {
    self.rules = rules
    self.cache = cache
    let waiting = SharedLine()
    self.waiting = waiting
    self.metrics = MembershipMetrics(
      rules.name, cache: cache, metrics, waiting: { waiting.line.withLock { $0.shares.total } })
    mailbox = try EventLoopMailbox()
  }

  /// Whether the last word from Redis was a good one.
  var isReady: Bool { [.reachable, .late].contains(reach.load(ordering: .relaxed)) }
  /// Whether Redis answers, and soon: only then a user whom the cache knows is kept waiting for what it says.
  var isAnswering: Bool { reach.load(ordering: .relaxed) == .reachable }
  var trouble: String? {
    if isReady { return nil }
    let reason = lastError.withLock { $0 } ?? "not asked yet"
    return "redis does not answer (\(reason)); known \(rules.name)s go on"
  }

  /// Takes a question; the receiver of one that is accepted is told once, whatever happens. Called on a worker's thread;
  /// never blocks.
  func lookUp(_ question: MembershipQuestion, for receiver: (any AnswerReceiver)?) -> Admission {
    let one = Waiting(
      member: question.member, key: question.key, source: question.source, receiver: receiver,
      isKnown: question.isKnown)
    var limit = 0
    let (admission, isFirst) = waiting.line.withLock { line in
      let room = Self.maximumWaiting - line.count
      // Under the lock: who comes in after `setReach` would wait for a Redis that hangs.
      guard room > 0, isAnswering || !one.isKnown else { return (Admission.full, false) }
      if one.isKnown {
        line.known.append(one)
      } else {
        let budget = rules.maximumWaitingPerSource ?? .max
        limit = min(budget, SourceShares.limit(room: room))
        guard line.shares.take(one.source, room: room, budget: budget) else { return (.overBudget, false) }
        line.unknown.append(one, of: one.source)
      }
      return (.accepted, line.count == 1)
    }
    if isFirst { mailbox.post { loop in (loop.context as? MembershipLink)?.answerNext() } }
    if admission == .overBudget { noteOverBudget(question.source, limit: limit) }
    return admission
  }

  private func noteOverBudget(_ source: HostNetwork, limit: Int) {
    metrics.overBudget.add()
    guard let suppressed = overBudgetLog.withLock({ $0.next() }) else { return }
    Log.warning(
      "too many approval look-ups of an address wait; more are refused, known users go on",
      ["set": rules.setKey, "address": "\(source)", "limit": limit, "suppressed": suppressed])
  }

  /// A worker has refused a request: no more of its source may wait there, of however few passkeys they are. Any thread.
  func noteTooManyParked(_ source: HostNetwork, limit: Int) {
    metrics.overBudget.add()
    guard let suppressed = tooManyParkedLog.withLock({ $0.next() }) else { return }
    Log.warning(
      "too many announces of an address wait for an approval; more are refused, known users go on",
      ["set": rules.setKey, "address": "\(source)", "limit": limit, "suppressed": suppressed])
  }

  /// Takes out up to `limit` of the waiting, and says whether some are left: who comes in behind those posts no letter. On the
  /// resolver's thread.
  func takeWaiting(limit: Int) -> (batch: [Waiting], hasMore: Bool) {
    waiting.line.withLock { line in
      var batch: [Waiting] = []
      while batch.count < limit, let next = line.popFirst() { batch.append(next) }
      return (batch, line.count > 0)
    }
  }

  /// Tells those who asked that these have been answered as well as they could be. Any thread.
  func tell(_ answered: [Waiting]) {
    if answered.contains(where: { !$0.isKnown }) {
      waiting.line.withLock { line in for one in answered where !one.isKnown { line.shares.giveBack(one.source) } }
    }
    var keys: [ObjectIdentifier: (receiver: any AnswerReceiver, keys: [UserKey])] = [:]
    for one in answered {
      guard let receiver = one.receiver else {
        cache.endCheck(of: one.key)
        continue
      }
      keys[ObjectIdentifier(receiver), default: (receiver, [])].keys.append(one.key)
    }
    for (receiver, keys) in keys.values { receiver.lookedUp(keys) }
  }

  /// Tells known users that nobody could say more of them in time. Any thread.
  func tellUnchecked(_ known: [Waiting]) {
    metrics.unchecked.add(UInt64(known.count))
    tell(known)
  }

  func start() throws(SystemError) {
    var started: NamedThread? = try NamedThread(name: "resolve-\(rules.name)") { [self] in run() }
    thread.withLock { $0 = started.take() }
  }

  /// Ends the thread. Requests still parked are not answered: the workers have ended before.
  func stop() {
    mailbox.post { loop in loop.stop() }
    let running = thread.withLock { $0.take() }
    running?.join()
  }

  private func run() {
    do {
      let loop = try EventLoop(mailbox: mailbox)
      let link = MembershipLink(self, loop)
      loop.context = link
      link.start()
      loop.run()
    } catch {
      Log.error("resolver cannot run", ["resolver": rules.name, "error": error.description])
    }
  }

  /// What Redis' last word was; nil: a good one. Logs changes, not states.
  func note(_ error: RedisError?) {
    guard let error else {
      if [.unknown, .away].contains(setReach(.reachable)) {
        Log.info("approval reaches redis", ["set": rules.setKey, "redis": rules.endpoint.redacted])
      }
      return
    }
    lastError.withLock { $0 = error.description }
    if setReach(.away) != .away {
      Log.warning(
        "approval cannot reach redis; known users go on, others are told to try again",
        ["set": rules.setKey, "redis": rules.endpoint.redacted, "error": error.description])
    }
  }

  /// An answer is late: known users go on without it until there is one.
  func noteLate() { _ = setReach(.late) }

  /// The reach before. Where Redis does not answer any more, the known users who wait for it go on, and those who wait for the
  /// origin: this thread, which looks to the time for them, may be held up. On the resolver's thread.
  private func setReach(_ now: Reach) -> Reach {
    if now == .reachable { return reach.exchange(now, ordering: .relaxed) }
    let (before, known) = waiting.line.withLock { line in
      let before = reach.load(ordering: .relaxed)
      // Who is away is not merely late.
      if now == .away || before == .reachable { reach.store(now, ordering: .relaxed) }
      defer { line.known = Fifo() }
      return (before, line.known)
    }
    if !known.isEmpty { tell(known.waiting) }
    let atOrigin = originWaits.endAll()
    if !atOrigin.isEmpty { tellUnchecked(atOrigin) }
    return before
  }

  /// What the cache says of a member, and what is to be asked where it does not know. Whom it knows to be approved is
  /// answered at once: what is only old is asked about behind the answer, and after a change of the set Redis is asked first
  /// only while it answers within a moment.
  @inline(__always)
  func verdict(
    on key: UserKey, nowSeconds: UInt32, from address: IPAddress, refusal: Refusal,
    _ member: @autoclosure () -> SetMember
  ) -> HookVerdict {
    switch cache.knowledge(of: key, nowSeconds: nowSeconds) {
    case .fresh(.approved): return .proceed
    case .fresh(.refused): return .refuse(refusal)
    case .aged:
      refreshBehind(key, member(), HostNetwork(of: address))
      return .proceed
    case .stale(.approved):
      guard isAnswering else {
        metrics.unchecked.add()
        return .proceed
      }
      return .lookUp(
        MembershipQuestion(
          resolver: self, key: key, member: member(), source: HostNetwork(of: address), isKnown: true),
        otherwise: nil)
    // A stale no may have become a yes.
    case .stale(.refused), .nothing:
      return .lookUp(
        MembershipQuestion(resolver: self, key: key, member: member(), source: HostNetwork(of: address)),
        otherwise: .tryAgain)
    }
  }

  /// Has a known key asked about again, once; nobody waits for it. While Redis does not answer there is nothing to ask: when it
  /// is back, everything is stale.
  private func refreshBehind(_ key: UserKey, _ member: SetMember, _ source: HostNetwork) {
    metrics.unchecked.add()
    guard isAnswering, cache.beginCheck(of: key) else { return }
    let question = MembershipQuestion(resolver: self, key: key, member: member, source: source, isKnown: true)
    if lookUp(question, for: nil) != .accepted { cache.endCheck(of: key) }
  }
}
