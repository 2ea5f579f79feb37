// MembershipSession: the part of a MembershipResolver that lives on its thread: the connection for questions, the
// subscription that tells of changes, and the batches under way.
//
// Live changes: the question connection switches on broadcast tracking of the set's key, redirected to the subscription
// (Redis manual, CLIENT TRACKING, "The broadcasting mode"); a message on `__redis__:invalidate` makes the cache stale.
// Where the server refuses that (older than 6, or the ACL), the times to live bound how long a change takes.

import CLinux
import Glibc
import Linux
import Redis

/// Answers questions from Redis.
final class MembershipSession {
  /// Questions per round trip: enough to fill a pipeline, little enough to answer within a millisecond.
  private static let batchLength = 512
  /// How often idle connections are tried, so that readiness tells the truth and a lost subscription is noticed.
  private static let probeNanoseconds: UInt64 = 1_000_000_000
  /// While the set is missing (a site renames it to refresh it), those the cache does not know are asked about again
  /// this often, until it has been missing for as long as the rules say; then a missing set is an empty set.
  private static let missingRetryNanoseconds: UInt64 = 50_000_000
  /// Whether the set exists and who is in it, from one moment: two answers around a RENAME must not mix. A script, and
  /// not MULTI: a Redis at its maxmemory refuses to queue any command after MULTI, and runs a script that only reads.
  /// SCARD and not EXISTS: it tells a key of another type, even when nobody is asked about.
  private static let membershipScript = """
    local answers = {redis.call('SCARD', KEYS[1])}
    for i = 1, #ARGV do answers[i + 1] = redis.call('SISMEMBER', KEYS[1], ARGV[i]) end
    return answers
    """

  private let resolver: MembershipResolver
  private let loop: EventLoop
  private let subscription: InvalidationSubscription
  private var connection: RedisConnection?
  private var backoff = RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 2000)
  /// No attempt before this, so that a Redis that is away costs no look-up a connect timeout.
  private var retryAtNanoseconds: UInt64 = 0
  /// When the set was first found missing; nil when it was there the last time.
  private var missingSinceNanoseconds: UInt64?

  init(_ resolver: MembershipResolver, _ loop: EventLoop) {
    self.resolver = resolver
    self.loop = loop
    subscription = InvalidationSubscription(resolver: resolver, loop: loop)
  }

  /// What nobody asked about for this long is forgotten; it still covers a night without announces.
  private static let forgetSeconds: UInt32 = 24 * 3600
  private static let forgetPeriodNanoseconds: UInt64 = 600_000_000_000

  func start() {
    probe()
    loop.repeatEvery(nanoseconds: Self.forgetPeriodNanoseconds) { [unowned self] in
      resolver.cache.expire(before: BatchTime.now().monotonicSeconds &- Self.forgetSeconds)
    }
  }

  /// Connects, or checks the connections, now and every second, by a question like any other: a set key of another type
  /// and a user without permission refuse everybody, however well they answer PING.
  private func probe() {
    _ = query([])
    subscription.probe()
    // Tracking redirects to a subscription that is gone: both are made anew at the next question.
    if subscription.needsNewConnection { connection = nil }
    loop.schedule(afterNanoseconds: Self.probeNanoseconds) { [unowned self] in probe() }
  }

  /// Works off everything that is waiting.
  func answerAll() {
    while true {
      let batch = resolver.takeWaiting(limit: Self.batchLength)
      if batch.isEmpty { return }
      ask(batch)
    }
  }

  private func ask(_ batch: [MembershipResolver.Waiting]) {
    let epoch = resolver.cache.epoch
    resolver.metrics.lookups.add(UInt64(batch.count))
    guard let answer = query(batch) else {
      resolver.metrics.failures.add(UInt64(batch.count))
      resolver.tell(batch)
      return
    }
    guard answer.setExists else {
      answerMissingSet(batch, epoch: epoch)
      return
    }
    missingSinceNanoseconds = nil
    conclude(zip(batch, answer.isMember).map { ($0, $1) }, epoch: epoch)
  }

  /// Whether the set exists and who is in it; nil when Redis gives no answer.
  private func query(_ batch: [MembershipResolver.Waiting]) -> (setExists: Bool, isMember: [Bool])? {
    let arguments = ["EVAL", Self.membershipScript, "1", resolver.rules.setKey] + batch.map(\.member.text)
    var setExists = false
    var isMember: [Bool] = []
    let isAnswered = withConnection { (connection) throws(RedisError) in
      let reply = try connection.command(arguments)
      guard reply.count == batch.count + 1 else { throw .protocolViolation("the membership script gave no list") }
      setExists = reply.view[0].integer ?? 0 > 0
      isMember = batch.indices.map { reply.view[$0 + 1].integer == 1 }
    }
    return isAnswered ? (setExists, isMember) : nil
  }

  /// The set is not there: whom the cache knows is answered from it, the others wait for the set to come back.
  private func answerMissingSet(_ batch: [MembershipResolver.Waiting], epoch: UInt32) {
    let now = BatchTime.now().monotonicSeconds
    let known = batch.filter { resolver.cache.wasApproved($0.key, nowSeconds: now) }
    resolver.tell(known)
    let unknown = batch.filter { !resolver.cache.wasApproved($0.key, nowSeconds: now) }
    if unknown.isEmpty { return }
    let nanoseconds = Clock.monotonicNanoseconds()
    let since = missingSinceNanoseconds ?? nanoseconds
    missingSinceNanoseconds = since
    if nanoseconds - since >= resolver.rules.missingSetPatienceNanoseconds {
      conclude(unknown.map { ($0, false) }, epoch: epoch)
    } else {
      loop.schedule(afterNanoseconds: Self.missingRetryNanoseconds) { [unowned self] in ask(unknown) }
    }
  }

  /// Remembers what the set said; what it does not have may still be known to the origin.
  private func conclude(_ answers: [(MembershipResolver.Waiting, Bool)], epoch: UInt32) {
    let now = BatchTime.now().monotonicSeconds
    var done: [MembershipResolver.Waiting] = []
    for (question, isMember) in answers {
      if isMember {
        resolver.cache.remember(.approved, for: question.key, epoch: epoch, nowSeconds: now)
        done.append(question)
      } else if let origin = resolver.rules.origin {
        askOrigin(origin, question, epoch: epoch, now: now, done: &done)
      } else {
        resolver.cache.remember(.refused, for: question.key, epoch: epoch, nowSeconds: now)
        done.append(question)
      }
    }
    resolver.tell(done)
  }

  private func askOrigin(
    _ origin: OriginCheck, _ question: MembershipResolver.Waiting, epoch: UInt32, now: UInt32,
    done: inout [MembershipResolver.Waiting]
  ) {
    // The set changed, the origin's word has not run out: it stands.
    if let verdict = resolver.cache.originVerdict(of: question.key, nowSeconds: now) {
      resolver.cache.remember(verdict, for: question.key, from: .origin, epoch: epoch, nowSeconds: now)
      done.append(question)
      return
    }
    guard case .passkey(let passkey) = question.member else { return }
    resolver.metrics.originCalls.add()
    let resolver = resolver
    origin.ask(passkey, key: question.key) { verdict in
      let now = BatchTime.now().monotonicSeconds
      if let verdict {
        resolver.cache.remember(verdict, for: question.key, from: .origin, epoch: epoch, nowSeconds: now)
      } else {
        resolver.metrics.originFailures.add()
      }
      resolver.tell([question])
    }
  }

  // MARK: the connection

  /// Runs `body` on a connection, once more on a new one when the old one turns out dead. False when Redis is away.
  private func withConnection(_ body: (inout RedisConnection) throws(RedisError) -> Void) -> Bool {
    for _ in 0..<2 {
      guard connect() else { return false }
      do {
        try body(&connection!)
        resolver.setReachable(true, nil)
        return true
      } catch {
        connection = nil
        resolver.setReachable(false, error)
      }
    }
    delayNextAttempt()
    return false
  }

  private func connect() -> Bool {
    if connection != nil { return true }
    guard Clock.monotonicNanoseconds() >= retryAtNanoseconds else { return false }
    do {
      var fresh = try RedisConnection(endpoint: resolver.rules.endpoint, timeouts: resolver.rules.timeouts)
      // Changes that happened while there was no connection were not reported.
      resolver.cache.invalidate()
      subscription.follow(&fresh)
      connection = consume fresh
      backoff.reset()
      return true
    } catch {
      resolver.setReachable(false, error)
      delayNextAttempt()
      return false
    }
  }

  private func delayNextAttempt() {
    retryAtNanoseconds = Clock.monotonicNanoseconds() + UInt64(backoff.next()) * 1_000_000
  }
}
