// The steps of a scenario, one after the other, and what comes behind the last: all faults end, and everything comes to rest.

extension World {
  func run(_ step: Step) {
    random = SeededBytes(step.salt)
    waits.random = SeededBytes(step.salt ^ 0xbac0ff)
    trace { "--- \(step)" }
    switch step.kind {
    case .announce(let client, let how): announce(client, how)
    case .run(let actions): for _ in 0..<actions { _ = act(by: now + 1_000_000_000) }
    case .wait(let milliseconds):
      // Redis keeps a session for `last_ttl`, and a run that is silent for a day.
      if milliseconds > site.ttlSeconds * 500 {
        trouble.note(.reported)
        // What waits for a day keeps nothing alive.
        if !isUntroubled || site.maximumStreamLength > 0 { trouble.hasForgotten = true }
      }
      pass(nanoseconds: UInt64(milliseconds) * 1_000_000)
      // Nobody leaves a stream unread for half a day.
      if milliseconds > site.ttlSeconds * 500 { collect() }
    case .settle:
      settle()
      check(isEnd: false)
    case .foreign(let client, let isBad): addForeign(client: client, isBad: isBad)
    case .fault(let fault): apply(fault)
    }
    // Nobody does two things at one moment.
    now += 1_000_000 + jitter(0...1_000_000)
    if random.chance(oneIn: 3) { collect() }
  }

  /// All faults end, everything comes to rest, and the books are compared.
  func finish() {
    random = SeededBytes(1)
    trace { "--- recovery" }
    isRedisDown = false
    isRedisHung = false
    redis.isReadOnly = false
    redis.isOutOfMemory = false
    redis.refusal = nil
    for tracker in trackers {
      tracker.link.mode = .up
      tracker.link.fuse = nil
      tracker.endStandstill()
      setDisk(full: false, of: tracker)
    }
    for consumer in consumers {
      consumer.link.mode = .up
      consumer.link.fuse = nil
      consumer.freeze(false)
      consumer.isDiskFull = false
    }
    // Who was told to stop has the time to.
    pass(nanoseconds: 10_000_000_000)
    for consumer in consumers { consumer.start() }
    settle()
    for tracker in trackers { tracker.start() }
    // What Redis has forgotten is noticed by a tracker with its next announce.
    for tracker in trackers where tracker.isServing {
      deliver(witness, witness.isStarted ? .none : .started, to: [tracker])
      witness.isStarted = true
      now += 1_000_000
    }
    var rounds = 0
    while !settle(actions: 20_000), failure == nil {
      rounds += 1
      if rounds == 6 { fail("live", "it does not come to rest") }
    }
    if !consumers.isEmpty {
      // `heal`, which the documentation recommends after all that may have gone wrong.
      consumers.first(where: \.isLeading)?.heal()
      pass(nanoseconds: 130_000_000_000)
      settle()
      replayDeadLetters()
    }
    check(isEnd: true)
  }
}
