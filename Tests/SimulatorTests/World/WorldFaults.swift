// Faults of trackers, of Redis and between them, and what each may cost.

extension World {
  func apply(_ fault: Fault) {
    defer { trouble.lastFault = now }
    func tracker(_ index: Int) -> SimulatedTracker { trackers[index % trackers.count] }
    switch fault {
    case .kill(let index):
      noteDeath(of: tracker(index))
      tracker(index).kill()
    case .terminate(let index):
      if !site.hasSpool { trouble.note(.reported) }
      // It spools what Redis has not taken back.
      let leavesAll = site.hasSpool && !site.sharesSpool && trackers.count == 1 && !trouble.hasFlushed
      let before = trouble
      noteDeath(of: tracker(index))
      if leavesAll { trouble.hasLostWitnesses = before.hasLostWitnesses }
      // So it does with what Redis has taken, where that is away.
      if leavesAll, isRedisDown, let process = tracker(index).process, !process.isStopping {
        trouble.lastAmnesia = before.lastAmnesia
        process.keepsAll = true
      }
      tracker(index).terminate()
    case .start(let index): tracker(index).start()
    case .link(let index, let mode): tracker(index).link.mode = mode
    case .fuse(let index, let commands, let fault): tracker(index).link.fuse = (commands, fault)
    case .redisDown:
      isRedisDown = true
      breakWires()
    case .redisUp:
      if isRedisDown { redis.forgetScripts() }
      isRedisDown = false
      for tracker in trackers { tracker.process?.keepsAll = false }
    case .redisHangs(let hangs): isRedisHung = hangs
    case .redisRestart: restartRedis()
    case .failover(let writes):
      if let past = history.past(writes: writes) {
        goBack(to: past)
        restartRedis()
      }
    case .entriesForgotten(let entries):
      if let past = history.past(entries: entries, of: Self.streamKey) {
        goBack(to: past)
        restartRedis()
      }
    case .resync(let writes): if let past = history.past(writes: writes) { goBack(to: past) }
    case .flushAll:
      trouble.hasForgotten = true
      trouble.hasFlushed = true
      trouble.hasLostWitnesses = trouble.hasLostWitnesses || trouble.hasAmnesia
      // One tracker may begin a session anew before another one gives it back.
      if trouble.hasAmnesia || site.retainedBytes < 1 << 20 || trackers.count > 1 { trouble.note(.reported) }
      forget { $0.removeAll() }
    case .readOnly(let value): redis.isReadOnly = value
    case .outOfMemory(let value): redis.isOutOfMemory = value
    case .refusal(let text): redis.refusal = text
    case .forgetScripts: redis.forgetScripts()
    case .trackerClock(let index, let milliseconds):
      if abs(milliseconds) > 1000 { trouble.hasWrongClocks = true }
      trouble.hasSmallClocks = true
      tracker(index).wallOffset = Int64(milliseconds) * 1_000_000
    case .standstill(let index, let milliseconds):
      // What it was told since it last read the common clock is of before or after.
      if trackers.count > 1 { trouble.note(.reported) }
      tracker(index).standStill(nanoseconds: UInt64(milliseconds) * 1_000_000)
    case .redisClock(let milliseconds):
      // What was to be kept for a day is not, if the day is over.
      trouble.hasForgotten = true
      if trackers.count > 1 { trouble.note(.reported) }
      redisOffset = Int64(milliseconds)
    case .redisFileSaved: history.putAway(redis.data, at: now)
    case .redisFileRestored:
      if let file = history.file {
        goBack(to: file)
        restartRedis()
      }
    case .spoolLost, .spoolTorn, .spoolGarbled, .spoolFlipped, .spoolSaved, .spoolOld, .diskFull: applyToDisk(fault)
    default: applyToConsumers(fault)
    }
  }

  /// Nothing keeps trackers from Redis at the moment.
  var isUntroubled: Bool {
    !isRedisDown && !isRedisHung && !redis.isReadOnly && !redis.isOutOfMemory && redis.refusal == nil
      && trackers.allSatisfy { $0.link.mode == .up && $0.link.fuse == nil }
  }

  /// What a process knows of what Redis has forgotten is gone with it, unless it had the time to give it back.
  private func noteDeath(of tracker: SimulatedTracker) {
    let isCalm = isUntroubled && now > trouble.lastFault + Self.givingBackNanoseconds
    trouble.hasLostWitnesses = trouble.hasLostWitnesses || trouble.hasForgotten && !isCalm
    trouble.lastAmnesia = now
  }

  private func goBack(to past: RedisHistory.Past) {
    // What a process of before had sent is held by nobody.
    if past.at < trouble.lastAmnesia || site.retainedBytes < 1 << 20 || trackers.count > 1 { trouble.note(.reported) }
    trouble.hasForgotten = true
    trouble.hasLostWitnesses = trouble.hasLostWitnesses || past.at < trouble.lastAmnesia
    forget { $0 = past.data }
    history.goBack(to: past)
  }

  /// Redis has what it had at another time.
  private func forget(_ body: (inout RedisData) -> Void) {
    let before = serials
    body(&redis.data)
    entries.redisForgot(before: before, after: serials)
  }

  /// The entries that are in the stream.
  var serials: Set<Int> { Set(redis.data.stream(Self.streamKey)?.entries.map(\.serial) ?? []) }
}
