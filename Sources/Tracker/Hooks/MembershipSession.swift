// MembershipSession: what a resolver decides: when to connect, whom to ask about, what an answer means and what happens
// without one. Pure: events go in, actions come out and are carried out in order by MembershipLink. It reads the cache, and
// has no socket, clock or thread.
//
//   probe, questions -> connect -> subscribe -> ask -> answered  -> remember, tell
//                                                                -> askOrigin   (the set does not have it, the origin may)
//                                                                -> askLater    (the set is missing: a RENAME is under way)
//                       fails twice, or too soon after a failure -> giveUp

import Redis

/// The decisions of one resolver.
struct MembershipSession {
  typealias Waiting = MembershipResolver.Waiting

  /// What has happened.
  enum Event {
    /// These wait, for the first time or again; at most `batchLength`.
    case questions([Waiting])
    /// Time to see whether Redis is there.
    case probe
    case connected
    case connectionFailed
    /// Changes of the set are reported from now on, or the server cannot.
    case subscribed
    /// What was asked last is not answered yet, and that has taken long.
    case late
    /// What was asked last has been answered, under the epoch that the cache had before.
    case answered(MembershipAnswer, epoch: UInt32)
    /// It has not, or the subscription found the connection dead: it is gone.
    case exchangeFailed
    /// Changes of the set arrive no more: the connection that has them reported is to be made anew.
    case subscriptionLost
  }

  /// What is to be done. `connect`, `subscribe` and `ask` end in an event.
  enum Action {
    case connect
    case disconnect
    case subscribe
    case ask([Waiting])
    case invalidateCache
    case remember(ApprovalCache.Verdict, Waiting, from: ApprovalCache.Source, epoch: UInt32)
    case tell([Waiting])
    /// Tell them, and count that they have no answer.
    case giveUp([Waiting])
    /// It remembers its own answer.
    case askOrigin(Waiting, epoch: UInt32)
    /// To come back as `questions`.
    case askLater([Waiting], afterNanoseconds: UInt64)
    case checkSubscription
    /// To come back as `probe`.
    case probeLater(afterNanoseconds: UInt64)
  }

  /// Questions per round trip: enough to fill a pipeline, little enough to answer within a millisecond.
  static let batchLength = 512
  /// How often idle connections are tried, so that readiness tells the truth and a lost subscription is noticed.
  static let probeNanoseconds: UInt64 = 1_000_000_000
  /// While the set is missing (a site renames it to refresh it), those the cache does not know are asked about again
  /// this often, until it has been missing for as long as the rules say; then a missing set is an empty set.
  static let missingRetryNanoseconds: UInt64 = 50_000_000
  /// A second try finds out whether a connection that was long idle is dead or Redis is.
  private static let maximumTries = 2

  private let cache: ApprovalCache
  private let hasOrigin: Bool
  private let missingSetPatienceNanoseconds: UInt64
  private var backoff: RetryBackoff
  private var isConnected = false
  /// No attempt before this, so that a Redis that is away costs no look-up a connect timeout.
  private var retryAtNanoseconds: UInt64 = 0
  /// What is under way, and how often it was tried; no questions are a probe.
  private var asked: [Waiting] = []
  private var tries = 0
  /// When the set was first found missing; nil when it was there the last time.
  private var missingSinceNanoseconds: UInt64?

  init(
    cache: ApprovalCache, hasOrigin: Bool, missingSetPatienceNanoseconds: UInt64,
    backoff: RetryBackoff = RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 2000)
  ) {
    self.cache = cache
    self.hasOrigin = hasOrigin
    self.missingSetPatienceNanoseconds = missingSetPatienceNanoseconds
    self.backoff = backoff
  }

  /// What follows from an event, at a monotonic time.
  mutating func handle(_ event: Event, nowNanoseconds now: UInt64) -> [Action] {
    switch event {
    case .questions(let batch): return begin(batch, now)
    // A question like any other: a set key of another type and a user without permission answer no question,
    // however well they answer PING.
    case .probe: return begin([], now) + [.checkSubscription, .probeLater(afterNanoseconds: Self.probeNanoseconds)]
    case .connected:
      isConnected = true
      backoff.reset()
      // Changes that happened while there was no connection were not reported.
      return [.invalidateCache, .subscribe]
    case .subscribed: return [.ask(asked)]
    case .connectionFailed:
      waitBeforeNextAttempt(now)
      return giveUp()
    case .late: return tellKnown()
    case .exchangeFailed:
      isConnected = false
      if tries < Self.maximumTries { return tellKnown() + attempt(now) }
      waitBeforeNextAttempt(now)
      return giveUp()
    case .subscriptionLost:
      isConnected = false
      return [.disconnect] + begin([], now)
    case .answered(let answer, let epoch):
      if asked.isEmpty { return [] }
      if !answer.setExists { return answerMissingSet(epoch, now) }
      missingSinceNanoseconds = nil
      return conclude(Array(zip(asked, answer.isMember)), epoch, now)
    }
  }

  // MARK: asking

  private mutating func begin(_ batch: [Waiting], _ now: UInt64) -> [Action] {
    asked = batch
    tries = 0
    return attempt(now)
  }

  private mutating func attempt(_ now: UInt64) -> [Action] {
    tries += 1
    if isConnected { return [.ask(asked)] }
    return now >= retryAtNanoseconds ? [.connect] : giveUp()
  }

  private mutating func waitBeforeNextAttempt(_ now: UInt64) {
    retryAtNanoseconds = now + UInt64(backoff.next()) * 1_000_000
  }

  /// Whom the cache knows does not wait for what may take seconds; told twice, they are told once.
  private func tellKnown() -> [Action] {
    let known = asked.filter(\.isKnown)
    return known.isEmpty ? [] : [.tell(known)]
  }

  private func giveUp() -> [Action] { asked.isEmpty ? [] : [.giveUp(asked)] }

  // MARK: answers

  /// The set is not there: whom the cache knows is answered from it, the others wait for the set to come back. What stays
  /// missing is an empty set, to which approvals of the last time to live are an exception.
  private mutating func answerMissingSet(_ epoch: UInt32, _ now: UInt64) -> [Action] {
    let seconds = BatchTime.seconds(now)
    let isPatient = now - (missingSinceNanoseconds ?? now) < missingSetPatienceNanoseconds
    var known: [Waiting] = []
    var unknown: [Waiting] = []
    for question in asked {
      if cache.wasApproved(question.key, nowSeconds: seconds, isPatient: isPatient) {
        known.append(question)
      } else {
        unknown.append(question)
      }
    }
    var actions: [Action] = known.isEmpty ? [] : [.tell(known)]
    if missingSinceNanoseconds == nil { missingSinceNanoseconds = now }
    if unknown.isEmpty { return actions }
    if !isPatient {
      actions += conclude(unknown.map { ($0, false) }, epoch, now)
    } else {
      actions.append(.askLater(unknown, afterNanoseconds: Self.missingRetryNanoseconds))
    }
    return actions
  }

  /// Remembers what the set said; what it does not have may still be known to the origin.
  private func conclude(_ answers: [(Waiting, Bool)], _ epoch: UInt32, _ now: UInt64) -> [Action] {
    var actions: [Action] = []
    var done: [Waiting] = []
    for (question, isMember) in answers {
      if isMember {
        actions.append(.remember(.approved, question, from: .redis, epoch: epoch))
      } else if !hasOrigin {
        actions.append(.remember(.refused, question, from: .redis, epoch: epoch))
      } else if let verdict = cache.originVerdict(of: question.key, nowSeconds: BatchTime.seconds(now)) {
        // The set changed, the origin's word has not run out: it stands.
        actions.append(.remember(verdict, question, from: .origin, epoch: epoch))
      } else {
        actions.append(.askOrigin(question, epoch: epoch))
        continue
      }
      done.append(question)
    }
    if !done.isEmpty { actions.append(.tell(done)) }
    return actions
  }
}

/// What Redis says of a set and of those asked about, from one moment.
struct MembershipAnswer: Equatable {
  var setExists: Bool
  /// In the order of the questions.
  var isMember: [Bool]
}
