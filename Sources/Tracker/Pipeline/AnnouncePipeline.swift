// AnnouncePipeline: what happens to an announce between parser and writer: the hooks in the order of the config, the
// swarm, the traffic record. One per worker, on its thread; the swarms, caches and queues behind it are shared.

import Linux
import Wire

/// A frontend that can answer a request later.
protocol ParkedRequestReceiver: AnyObject {
  /// The look-up a parked request waited for has ended: announce it again, with the same origin, and write the result.
  /// On the worker's thread.
  func resume(_ request: AnnounceRequest, origin: RequestOrigin)
}

/// What the pipelines of all workers share.
struct PipelineRules: Sendable {
  /// In the order of the config.
  var hooks: [any AnnounceHook] = []
  var swarmPolicy = SwarmPolicy()
  var intervalSeconds: UInt32 = 1800
  var minIntervalSeconds: UInt32 = 900
}

/// The way of an announce through one worker.
final class AnnouncePipeline {
  /// Records that wait for the end of the batch; a full buffer is handed over at once.
  private static let recordCapacity = 256
  /// Parked requests that go on before the worker's sockets get their turn: two or three milliseconds.
  static let resumedPerTurn = 256

  private let store: SwarmStore
  private let push: (any AnnounceRecordSink)?
  private let answers: PipelineAnswers
  /// Changes with a reload.
  var rules: PipelineRules
  private var lottery: PeerLottery
  private var spread: StormSpread
  private var parking = ParkingLot()
  /// The announce being put through is one that was parked.
  private var isResuming = false
  /// A letter is on its way that goes on with those whose look-ups have ended.
  private var isResumePosted = false
  private let records: UnsafeMutablePointer<AnnounceRecord>
  private var recordCount = 0
  /// Answer the requests that came by UDP and by HTTP.
  weak var udpReceiver: (any ParkedRequestReceiver)?
  weak var httpReceiver: (any ParkedRequestReceiver)?

  /// `mailbox` is the worker's: answers to questions come through it.
  init(
    store: SwarmStore, push: (any AnnounceRecordSink)?, rules: PipelineRules, mailbox: EventLoopMailbox
  ) {
    self.store = store
    self.push = push
    answers = PipelineAnswers(mailbox: mailbox)
    self.rules = rules
    lottery = PeerLottery(seed: Clock.unixNanoseconds())
    spread = StormSpread(
      startSeconds: BatchTime.now().monotonicSeconds, intervalSeconds: rules.intervalSeconds)
    records = .allocate(capacity: Self.recordCapacity)
    answers.pipeline = self
  }

  deinit { records.deallocate() }

  /// Requests that wait for a look-up, or for their turn after it.
  var parkedCount: Int { parking.count }

  /// Where the swarms will be asked about the announce: see `prepare`.
  @inline(__always)
  func key(of request: borrowing AnnounceRequest) -> SwarmKey {
    let hasher = store.hasher
    let user = if let passkey = request.passkey { hasher.hash(passkey) } else { hasher.hash(request.peerID) }
    return SwarmKey(torrent: hasher.hash(request.infoHash), user: user)
  }

  /// Gets the memory ready for a batch of announces that are about to be put through.
  func prepare(_ keys: UnsafeBufferPointer<SwarmKey>) { store.prefetch(keys) }

  /// Puts one announce through. It may be parked: the receiver that the origin names is then called later.
  func announce(
    _ request: borrowing AnnounceRequest, origin: RequestOrigin, time: BatchTime, reply: inout AnnounceReply
  ) -> AnnounceOutcome {
    var context = context(of: request, time)
    for number in rules.hooks.indices {
      if let outcome = ask(hook: number, request, &context, origin) { return outcome }
    }
    if parking.isGoingOn, followsParked(request, context, origin) { return .parked }
    context.intervalSeconds &+= spread.addition(
      nowSeconds: time.monotonicSeconds, intervalSeconds: context.intervalSeconds, lottery: &lottery)
    reply.intervalSeconds = context.intervalSeconds
    reply.minIntervalSeconds = context.minIntervalSeconds
    return apply(request, context, reply: &reply)
  }

  /// Whether a scrape may be answered: the hooks that guard scrapes decide, by its passkey. It may be parked like an
  /// announce.
  func admitScrape(
    passkey: Passkey?, from source: IPAddress, lookedUp: UInt32, origin: RequestOrigin, time: BatchTime
  ) -> AnnounceOutcome {
    var request = AnnounceRequest()
    request.passkey = passkey
    request.source = source
    request.lookedUp = lookedUp
    var context = context(of: request, time)
    for number in rules.hooks.indices where rules.hooks[number].guardsScrapes {
      if let outcome = ask(hook: number, request, &context, origin) { return outcome }
    }
    return .accepted
  }

  @inline(__always)
  private func context(of request: borrowing AnnounceRequest, _ time: BatchTime) -> AnnounceContext {
    AnnounceContext(
      time: time, user: request.passkey.map { store.hasher.userKey($0) }, hasher: store.hasher,
      intervalSeconds: rules.intervalSeconds, minIntervalSeconds: rules.minIntervalSeconds)
  }

  /// What a hook makes of a request; nil: the next one decides.
  @inline(__always)
  private func ask(
    hook number: Int, _ request: borrowing AnnounceRequest, _ context: inout AnnounceContext, _ origin: RequestOrigin
  ) -> AnnounceOutcome? {
    switch rules.hooks[number].check(request, &context) {
    case .proceed: return nil
    case .refuse(let refusal): return .refused(refusal)
    case .lookUp(let question, let otherwise):
      // Each hook may have one look-up per request; what is not decided then, or where no more can wait, is decided with what
      // there is.
      let mayWait = request.lookedUp & 1 << UInt32(number) == 0
      guard mayWait else { return otherwise.map { .refused($0) } }
      if parking.isGoingOn, followsParked(request, context, origin) { return .parked }
      switch park(request, question, hook: number, origin) {
      case .accepted: return .parked
      case .full: return otherwise.map { .refused($0) }
      case .overBudget: return .refused(.tooManyLookups)
      }
    }
  }

  private func apply(
    _ request: borrowing AnnounceRequest, _ context: AnnounceContext, reply: inout AnnounceReply
  ) -> AnnounceOutcome {
    let user = if let user = context.user { user.low } else { store.hasher.hash(request.peerID) }
    let announce = SwarmAnnounce(
      infoHash: request.infoHash, peerID: request.peerID, user: user, hasPasskey: context.user != nil,
      address: request.address, otherAddress: request.otherAddress, port: request.port, event: request.event,
      left: request.left, downloaded: request.downloaded, isPartialSeed: request.isPaused,
      minIntervalSeconds: rules.minIntervalSeconds, nowSeconds: context.time.monotonicSeconds)
    let result = store.announce(announce, policy: rules.swarmPolicy, lottery: &lottery, into: &reply.peers)
    if let limit = result.limit { return .refused(Refusal(limit)) }
    reply.complete = result.complete
    reply.incomplete = result.incomplete
    reply.downloaded = result.downloaded
    // It still counts in full.
    if result.announcesTooOften { reply.warning = "announced before the minimum interval has passed" }
    if result.completes {
      let snatchUser = if let passkey = request.passkey { SnatchLedger.user(passkey) } else { user }
      reply.downloaded = store.noteSnatch(request.infoHash, user: snatchUser, policy: rules.swarmPolicy)
    }
    record(request, result, context)
    return .accepted
  }

  /// Notes the announce for the traffic stream; without passkey there is no user to credit. There `completed` is what the
  /// swarm knows to be one, whatever the client called it; a `stopped` that completes is two entries, so that what follows
  /// of the stop follows, and the second finds nothing left to credit.
  private func record(_ request: borrowing AnnounceRequest, _ result: SwarmResult, _ context: AnnounceContext) {
    guard push != nil, let passkey = request.passkey else { return }
    let isStop = request.event == .stopped
    if result.completes { record(request, passkey, .completed, context) }
    if isStop || !result.completes {
      record(
        request, passkey, request.event == .completed ? .none : request.event, context, isGone: !result.isKnown)
    }
  }

  private func record(
    _ request: borrowing AnnounceRequest, _ passkey: Passkey, _ event: AnnounceEvent, _ context: AnnounceContext,
    isGone: Bool = false
  ) {
    (records + recordCount).initialize(
      to: AnnounceRecord(
        passkey: passkey, infoHash: request.infoHash, peerID: request.peerID, address: request.address,
        port: request.port, event: event, isGone: isGone, uploaded: request.uploaded,
        downloaded: request.downloaded, left: request.left, timestamp: context.time.unixSeconds,
        intervalSeconds: context.intervalSeconds, minIntervalSeconds: context.minIntervalSeconds,
        arrivedNanoseconds: request.arrivedNanoseconds))
    recordCount += 1
    if recordCount == Self.recordCapacity { flushRecords() }
  }

  /// Hands the batch's records to the push queue. After each batch of events.
  func flushRecords() {
    guard recordCount > 0 else { return }
    push?.enqueue(UnsafeBufferPointer(start: records, count: recordCount))
    recordCount = 0
  }

  /// The counts of one torrent.
  func scrape(_ infoHash: InfoHash) -> ScrapeCounts { store.scrape(infoHash) }

  // MARK: parking

  /// Accepted: the request waits now.
  private func park(
    _ request: borrowing AnnounceRequest, _ question: MembershipQuestion, hook number: Int, _ origin: RequestOrigin
  ) -> MembershipResolver.Admission {
    var parked = timed(request)
    parked.lookedUp |= 1 << UInt32(number)
    switch parking.park(parked, key: question.key, origin: origin, isKnown: question.isKnown) {
    case .full: return .full
    case .overShare(let limit):
      question.resolver.noteTooManyParked(question.source, limit: limit)
      return .overBudget
    case .joined: return .accepted
    case .first:
      let admission = question.resolver.lookUp(question, for: answers)
      if admission != .accepted { parking.removeAll(of: question.key) }
      return admission
    }
  }

  /// A request that is put through later, with the time at which it came.
  private func timed(_ request: borrowing AnnounceRequest) -> AnnounceRequest {
    var timed = copy request
    if timed.arrivedNanoseconds == 0 { timed.arrivedNanoseconds = Clock.monotonicNanoseconds() }
    return timed
  }

  /// Has an announce wait behind the older ones of its user and torrent whose look-up has ended and whose turn has not come:
  /// a session's are put through in the order they came. (Where too much of its source waits it is not; then the order of the
  /// stream is by the times at which they came.) Not for a scrape, which has no order.
  private func followsParked(
    _ request: borrowing AnnounceRequest, _ context: AnnounceContext, _ origin: RequestOrigin
  ) -> Bool {
    if isResuming { return false }
    if case .httpScrape = origin { return false }
    let keys = [context.user, store.hasher.userKey(request.infoHash)].compactMap { $0 }
    guard let key = keys.first(where: { parking.isGoingOn($0) }) else { return false }
    return parking.follow(key, timed(request), origin: origin)
  }

  /// Look-ups have ended: what waited for them goes on. Strangers can have as much wait for one as the lot holds, so this takes
  /// turns with what the worker has to do besides.
  fileprivate func resumeParked(_ keys: [UserKey]) {
    for key in keys { parking.release(key) }
    if !isResumePosted { resumeNext() }
  }

  fileprivate func resumeNext() {
    resume(atMost: Self.resumedPerTurn)
    isResumePosted = parking.isGoingOn
    if isResumePosted { answers.postResume() }
  }

  /// Puts through what was parked and has its answer. When the worker ends: no turn will come any more.
  func resumeRest() { resume(atMost: .max) }

  private func resume(atMost count: Int) {
    isResuming = true
    defer { isResuming = false }
    var left = count
    while left > 0, let parked = parking.next() {
      left -= 1
      switch parked.origin {
      case .udp: udpReceiver?.resume(parked.request, origin: parked.origin)
      case .http, .httpScrape: httpReceiver?.resume(parked.request, origin: parked.origin)
      }
    }
  }
}

extension Refusal {
  init(_ limit: SessionLimit) {
    switch limit {
    case .clientsOnTorrent: self = .tooManyPeersOfUser
    case .sessions: self = .tooManySessionsOfUser
    case .newSessions: self = .tooManyNewSessionsOfUser
    }
  }
}

/// Brings answers from other threads to a pipeline on its worker's thread.
private final class PipelineAnswers: AnswerReceiver {
  private let mailbox: EventLoopMailbox
  /// Set when the pipeline is made; used on the worker's thread only.
  nonisolated(unsafe) weak var pipeline: AnnouncePipeline?

  init(mailbox: EventLoopMailbox) { self.mailbox = mailbox }

  func lookedUp(_ keys: [UserKey]) { mailbox.post { _ in self.pipeline?.resumeParked(keys) } }

  func postResume() { mailbox.post { _ in self.pipeline?.resumeNext() } }
}
