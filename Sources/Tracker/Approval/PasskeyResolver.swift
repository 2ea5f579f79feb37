// PasskeyResolver: asks Redis about passkeys the cache does not know. Owns its thread ("resolver") and its connection;
// workers hand passkeys in and are told when their answers are in the cache. Nobody waits for it.

import Glibc
import Shared
import Synchronization

/// Where a worker is told that look-ups have ended. Called on the resolver's thread.
typealias PasskeyAnswer = @Sendable ([UserKey]) -> Void

/// The thread between `passkey approval` and Redis.
final class PasskeyResolver: Sendable {
  private struct Question: Sendable {
    let passkey: Passkey
    let user: UserKey
    let worker: Int
  }

  /// Passkeys asked about in one round trip: enough to fill a pipeline, little enough to answer within a millisecond.
  private static let batchLength = 512
  /// Waiting passkeys, over all workers; more are turned away with "try again". A restart with a million users at once
  /// stays far below it, because answers take milliseconds.
  private static let maximumWaiting = 262_144

  private let options: PasskeyApprovalOptions
  private let endpoint: RedisEndpoint
  private let cache: ApprovalCache
  private let questions = Mutex<[Question]>([])
  private let answers = Mutex<[PasskeyAnswer]>([])
  private let mailbox: EventLoopMailbox
  private let thread = Mutex<NamedThread?>(nil)
  private let isReachable = Atomic<Bool>(false)
  private let lookups: Counter
  private let failures: Counter

  init(options: PasskeyApprovalOptions, cache: ApprovalCache, metrics: MetricRegistry) throws {
    self.options = options
    self.cache = cache
    endpoint = try RedisEndpoint(url: options.redisBroker)
    mailbox = try EventLoopMailbox()
    lookups = metrics.counter("tracker_passkey_lookups_total", help: "Passkeys asked of Redis.")
    failures = metrics.counter(
      "tracker_passkey_lookup_failures_total", help: "Passkeys that could not be asked about: Redis was away.")
    metrics.gauge("tracker_passkey_cache_entries", help: "Passkeys whose approval or refusal is remembered.") {
      Double(cache.count)
    }
  }

  /// Whether the last word from Redis was a good one.
  var isReady: Bool { isReachable.load(ordering: .relaxed) }

  /// Registers a worker; returns the number it gives with its questions. Before `start`.
  func addWorker(_ answer: @escaping PasskeyAnswer) -> Int {
    answers.withLock { answers in
      answers.append(answer)
      return answers.count - 1
    }
  }

  /// Asks about a passkey; the worker's answer closure is called once with its key, whatever happens. False when too many
  /// are waiting already. Called on a worker's thread; never blocks.
  func lookUp(_ passkey: Passkey, user: UserKey, worker: Int) -> Bool {
    let before: Int? = questions.withLock { questions in
      guard questions.count < Self.maximumWaiting else { return nil }
      questions.append(Question(passkey: passkey, user: user, worker: worker))
      return questions.count - 1
    }
    guard let before else { return false }
    if before == 0 { wake() }
    return true
  }

  private func wake() {
    mailbox.post { loop in (loop.context as? Session)?.answerAll() }
  }

  func start() throws(SystemError) {
    var started: NamedThread? = try NamedThread(name: "resolver") { [self] in run() }
    thread.withLock { $0 = started.take() }
  }

  /// Ends the thread; waiting passkeys are answered with what the cache has.
  func stop() {
    mailbox.post { loop in loop.stop() }
    let running = thread.withLock { $0.take() }
    running?.join()
  }

  private func run() {
    do {
      let loop = try EventLoop(mailbox: mailbox)
      let session = Session(self, loop)
      loop.context = session
      session.probe()
      loop.run()
    } catch {
      Log.error("resolver cannot run", ["error": error.description])
    }
  }
}

extension PasskeyResolver {
  /// The part that lives on the resolver's thread.
  private final class Session {
    private let resolver: PasskeyResolver
    private let loop: EventLoop
    private var connection: RedisConnection?
    private var backoff = RetryBackoff(firstMilliseconds: 100, maximumMilliseconds: 5000)
    /// No attempt before this, so that a Redis that is away costs no look-up a connect timeout.
    private var retryAtNanoseconds: UInt64 = 0

    /// How often an idle connection is tried, so that readiness tells the truth without traffic.
    private static let probeNanoseconds: UInt64 = 1_000_000_000

    init(_ resolver: PasskeyResolver, _ loop: EventLoop) {
      self.resolver = resolver
      self.loop = loop
    }

    /// Connects, or checks the connection, now and every second.
    func probe() {
      _ = withConnection { (connection) throws(RedisError) in _ = try connection.command(["PING"]) }
      loop.schedule(afterNanoseconds: Self.probeNanoseconds) { [unowned self] in probe() }
    }

    /// Works off everything that is waiting.
    func answerAll() {
      while true {
        let batch = resolver.questions.withLock { questions in
          let batch = Array(questions.prefix(PasskeyResolver.batchLength))
          questions.removeFirst(batch.count)
          return batch
        }
        if batch.isEmpty { return }
        ask(batch)
        tell(batch)
      }
    }

    private func ask(_ batch: [Question]) {
      let epoch = resolver.cache.epoch
      let setKey = resolver.options.setKey
      var verdicts: [ApprovalCache.Verdict] = []
      let isAnswered = withConnection { (connection) throws(RedisError) in
        verdicts.removeAll()
        for question in batch { connection.append(["SISMEMBER", setKey, question.passkey.text]) }
        try connection.flush()
        for _ in batch {
          let reply = try connection.nextReply()
          if let error = reply.error { throw RedisError.server(error) }
          verdicts.append(reply.integer == 1 ? .approved : .refused)
        }
      }
      resolver.lookups.add(UInt64(batch.count))
      guard isAnswered else {
        resolver.failures.add(UInt64(batch.count))
        return
      }
      let now = BatchTime.now().monotonicSeconds
      for (question, verdict) in zip(batch, verdicts) {
        resolver.cache.remember(verdict, for: question.user, epoch: epoch, nowSeconds: now)
      }
    }

    private func tell(_ batch: [Question]) {
      let answers = resolver.answers.withLock { $0 }
      for (worker, answer) in answers.enumerated() {
        let users = batch.filter { $0.worker == worker }.map(\.user)
        if !users.isEmpty { answer(users) }
      }
    }

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
        connection = try RedisConnection(
          endpoint: resolver.endpoint, timeouts: RedisTimeouts(resolver.options.timeouts))
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

  /// Logs changes, not states.
  private func setReachable(_ now: Bool, _ error: RedisError?) {
    guard isReachable.exchange(now, ordering: .relaxed) != now else { return }
    if now {
      Log.info("passkey approval reaches redis", ["redis": endpoint.redacted])
    } else {
      Log.warning(
        "passkey approval cannot reach redis; known users go on, others are told to try again",
        ["redis": endpoint.redacted, "error": error?.description ?? ""])
    }
  }
}

extension RedisTimeouts {
  /// The timeouts of a hook's options.
  init(_ options: RedisTimeoutOptions) {
    self.init(
      connectMilliseconds: options.connect.wholeMilliseconds, readMilliseconds: options.read.wholeMilliseconds,
      writeMilliseconds: options.write.wholeMilliseconds)
  }
}
