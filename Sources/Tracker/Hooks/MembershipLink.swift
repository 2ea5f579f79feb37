// MembershipLink: the part of a MembershipResolver that lives on its thread: carries out what MembershipSession decides, with
// the connection for questions and the subscription that tells of changes.
//
// Live changes: the question connection switches on broadcast tracking of the set's key, redirected to the subscription
// (Redis manual, CLIENT TRACKING, "The broadcasting mode"); a message on `__redis__:invalidate` makes the cache stale.
// Where the server refuses that (older than 6, or the ACL), the times to live bound how long a change takes.

import Linux
import Redis

/// Answers questions from Redis.
final class MembershipLink {
  /// Whether the set exists and who is in it, from one moment: two answers around a RENAME must not mix. A script, and
  /// not MULTI: a Redis at its maxmemory refuses to queue any command after MULTI, and runs a script that only reads.
  /// SCARD and not EXISTS: it tells a key of another type, even in a probe.
  private static let membershipScript = """
    local answers = {redis.call('SCARD', KEYS[1])}
    for i = 1, #ARGV do answers[i + 1] = redis.call('SISMEMBER', KEYS[1], ARGV[i]) end
    return answers
    """
  private static let forgetPeriodNanoseconds: UInt64 = 600_000_000_000

  private let resolver: MembershipResolver
  private let loop: EventLoop
  private let subscription: InvalidationSubscription
  private var session: MembershipSession
  private var connection: RedisConnection?
  /// What MOVED said: the new owner of the set's slot, which it knows before the other nodes do.
  private var redirection: RedisServerError?
  /// To the node that has the set already while a Cluster moves the slot (ASK).
  private var detour: RedisConnection?

  init(_ resolver: MembershipResolver, _ loop: EventLoop) {
    self.resolver = resolver
    self.loop = loop
    subscription = InvalidationSubscription(resolver: resolver, loop: loop)
    session = MembershipSession(
      cache: resolver.cache, hasOrigin: resolver.rules.origin != nil,
      missingSetPatienceNanoseconds: resolver.rules.missingSetPatienceNanoseconds)
  }

  func start() {
    handle(.probe)
    loop.repeatEvery(nanoseconds: Self.forgetPeriodNanoseconds) { [unowned self] in
      resolver.cache.expire(before: BatchTime.now().monotonicSeconds &- resolver.cache.staleSeconds)
    }
  }

  /// Works off what has waited longest, and comes back for the rest: as long as questions keep coming, the loop has other things
  /// to do between two answers, such as to hear that a passkey was removed.
  func answerNext() {
    let (batch, hasMore) = resolver.takeWaiting(limit: MembershipSession.batchLength)
    if !batch.isEmpty { answer(batch) }
    if hasMore { loop.mailbox.post { loop in (loop.context as? MembershipLink)?.answerNext() } }
  }

  private func answer(_ batch: [MembershipResolver.Waiting]) {
    resolver.metrics.lookups.add(UInt64(batch.count))
    handle(.questions(batch))
  }

  private func handle(_ event: MembershipSession.Event) {
    for action in session.handle(event, nowNanoseconds: Clock.monotonicNanoseconds()) { carryOut(action) }
  }

  private func carryOut(_ action: MembershipSession.Action) {
    switch action {
    case .connect: handle(connect())
    case .disconnect:
      connection = nil
      resolver.noteLate()
    case .subscribe: handle(subscribe())
    case .ask(let batch): handle(ask(batch))
    case .invalidateCache: resolver.cache.invalidate()
    case .remember(let verdict, let question, let source, let epoch):
      resolver.cache.remember(
        verdict, for: question.key, from: source, epoch: epoch, nowSeconds: BatchTime.now().monotonicSeconds)
    case .tell(let batch): resolver.tell(batch)
    case .giveUp(let batch):
      resolver.metrics.failures.add(UInt64(batch.count))
      resolver.tell(batch)
    case .askOrigin(let question, let epoch): askOrigin(question, epoch)
    case .askLater(let batch, let nanoseconds):
      loop.schedule(afterNanoseconds: nanoseconds) { [unowned self] in answer(batch) }
    case .checkSubscription:
      subscription.probe()
      if subscription.needsNewConnection { handle(.subscriptionLost) }
    case .probeLater(let nanoseconds):
      loop.schedule(afterNanoseconds: nanoseconds) { [unowned self] in handle(.probe) }
    }
  }

  private func connect() -> MembershipSession.Event {
    let rules = resolver.rules
    detour = nil
    do {
      if let redirection = redirection.take() {
        connection = try RedisConnection(
          redirectedBy: redirection, endpoint: rules.endpoint, timeouts: rules.timeouts)
      } else {
        connection = try RedisConnection(endpoint: rules.endpoint, timeouts: rules.timeouts, key: rules.setKey)
      }
      return .connected
    } catch {
      resolver.note(error)
      return .connectionFailed
    }
  }

  private func subscribe() -> MembershipSession.Event {
    do throws(RedisError) {
      try subscription.follow(&connection!)
      return .subscribed
    } catch {
      connection = nil
      resolver.note(error)
      return .exchangeFailed
    }
  }

  /// The session asks only after `.subscribed`.
  private func ask(_ batch: [MembershipResolver.Waiting]) -> MembershipSession.Event {
    let epoch = resolver.cache.epoch
    do throws(RedisError) {
      let reply = try exchange(["EVAL", Self.membershipScript, "1", resolver.rules.setKey] + batch.map(\.member.text))
      // Where the set is on its way to another node nobody reports changes: all is asked again, at every probe.
      if detour != nil && batch.isEmpty { resolver.cache.invalidate() }
      guard reply.count == batch.count + 1 else { throw .protocolViolation("the membership script gave no list") }
      let answer = MembershipAnswer(
        setExists: reply.view[0].integer ?? 0 > 0, isMember: batch.indices.map { reply.view[$0 + 1].integer == 1 })
      resolver.note(nil)
      return .answered(answer, epoch: epoch)
    } catch {
      connection = nil
      if case .server(let server) = error, server.code == .moved { redirection = server }
      resolver.note(error)
      return .exchangeFailed
    }
  }

  /// The reply to a question, from wherever a Cluster has the set at this moment.
  private func exchange(_ question: [String]) throws(RedisError) -> RedisReply {
    do throws(RedisError) {
      let reply = try connection!.command(question, patienceMilliseconds: MembershipResolver.patienceMilliseconds) {
        resolver.noteLate()
        handle(.late)
      }
      detour = nil
      return reply
    } catch {
      guard case .server(let redirection) = error, redirection.code == .ask else { throw error }
      if detour == nil {
        detour = try RedisConnection(
          redirectedBy: redirection, endpoint: resolver.rules.endpoint, timeouts: resolver.rules.timeouts)
      }
      _ = try detour!.command(["ASKING"])
      return try detour!.command(question)
    }
  }

  /// The answer comes on a thread of URLSession and needs none of this one, which may be waiting for Redis. A known user is
  /// told with the old yes when it takes long: the answer applies from then on.
  private func askOrigin(_ question: MembershipResolver.Waiting, _ epoch: UInt32) {
    guard let origin = resolver.rules.origin, case .passkey(let passkey) = question.member else { return }
    resolver.metrics.originCalls.add()
    let resolver = resolver
    let wait = resolver.originWaits.begin(question)
    origin.ask(passkey, key: question.key, of: question.source, isKnown: question.isKnown) { verdict in
      if let verdict {
        let now = BatchTime.now().monotonicSeconds
        resolver.cache.remember(verdict, for: question.key, from: .origin, epoch: epoch, nowSeconds: now)
      } else {
        resolver.metrics.originFailures.add()
      }
      if wait.map({ resolver.originWaits.end($0) }) ?? true { resolver.tell([question]) }
    }
    guard let wait else { return }
    loop.schedule(afterNanoseconds: UInt64(MembershipResolver.patienceMilliseconds) * 1_000_000) {
      if resolver.originWaits.end(wait) { resolver.tellUnchecked([question]) }
    }
  }
}
