// ModelRedis: what Redis keeps of a publisher's runs, and what push.lua and restore.lua answer, for a PushSessionSite.

import Redis

@testable import Tracker

/// What Redis knows of runs, and the stream as (run, number): the deltas are PushScriptModel's business.
struct ModelRedis {
  struct Entry: Hashable {
    var run: UInt64
    var number: UInt64
  }
  var next: [UInt64: UInt64] = [:]
  /// Of a run, what was given back last.
  var given: [UInt64: PushCall.GivenBack] = [:]
  var stream: [Entry] = []
  /// Of each entry of the stream, where its run was then.
  var places: [UInt64] = []
  var scripts: Set<String> = []
  var clock = ModelClock()
  /// Longest stream; 0: no limit.
  var limit = 0
  /// Told to every call instead of being served.
  var error: RedisServerError?

  static func entries(_ numbers: Range<UInt64>, run: UInt64 = 1) -> [Entry] {
    numbers.map { Entry(run: run, number: $0) }
  }

  /// FLUSHALL.
  mutating func forget() {
    next = [:]
    given = [:]
    stream = []
    places = []
    clock = ModelClock()
  }

  /// A failover to the moment when the stream had so many entries of the one run there is.
  mutating func rollBack(to entries: Int, run: UInt64) {
    next[run] = places[entries - 1]
    stream.removeSubrange(entries...)
    places.removeSubrange(entries...)
    given = [:]
  }

  mutating func load(_ name: PushScript.Name) -> String {
    let hash = "\(name)"
    scripts.insert(hash)
    return hash
  }

  mutating func apply(_ first: UInt64, count: Int, run: UInt64, gapFrom: PushCall.Gap?) -> Result<
    PushScript.Reply, RedisServerError
  > {
    if let error { return .failure(error) }
    guard scripts.contains("push") else { return .failure(RedisServerError(line: "NOSCRIPT No matching script.")) }
    var expected = next[run] ?? 0
    if first > expected {
      guard let gapFrom, gapFrom.place == expected, gapFrom.given == nil || gapFrom.given == given[run] else {
        return .success(PushScript.Reply(status: .gap, next: expected))
      }
      expected = first
    }
    let start = expected
    var status = PushScript.Reply.Status.done
    while expected < first + UInt64(count) {
      if limit > 0 && stream.count >= limit {
        status = .full
        break
      }
      stream.append(Entry(run: run, number: expected))
      expected += 1
      places.append(expected)
    }
    next[run] = expected
    var reply = PushScript.Reply(status: status, next: expected)
    reply.applied = expected - start
    return .success(reply)
  }

  /// What restore.lua does.
  mutating func restore(_ batch: PushBatch, run: UInt64, given: PushCall.GivenBack, done: Int) -> PushSession.Event {
    if let error { return .failed(.server(error)) }
    guard scripts.contains("restore") else { return .failed(.server(RedisServerError(line: "NOSCRIPT No script."))) }
    if given.records > 0, self.given[run] != given { return .restored(records: nil, entries: 0) }
    let room = limit > 0 ? limit - stream.count : batch.count
    let upto = min(batch.count, done + max(0, room))
    self.given[run] = given
    self.given[run]?.records += UInt32(upto - done)
    for number in batch.first + UInt64(done)..<batch.first + UInt64(upto) {
      stream.append(Entry(run: batch.run.id, number: number))
      places.append(next[run] ?? 0)
    }
    return .restored(records: upto, entries: UInt64(upto - done))
  }
}
