// EngineState: what the threads of the daemon tell each other and the outside: readiness, lag, counters. Any thread.

import Linux
import Redis
import Settings
import Synchronization

/// The settings of reading, fixed at start.
struct StreamSettings: Sendable {
  var endpoint: RedisEndpoint
  var timeouts: RedisTimeouts
  var streams: [String]
  var group: String
  var consumer: String
  /// Take the group over from another database.
  var adoptsGroup = false
  /// How long an entry may be pending for a consumer before it is taken from it: above any pause of a living one (a
  /// commit's busy timeout, a slow disk), below the minutes a site notices.
  var claimIdleMilliseconds = 60_000
  /// Trimming leaves entries of the last minute: they are how a stream is recognised after a failover.
  var trimAgeMilliseconds: UInt64 = 60_000
  var trims = true
}

/// What one reader knows of its stream.
struct StreamProgress: Sendable {
  var isConnected = false
  /// Own pending entries and the past have been read since the connection was made.
  var isCaughtUp = false
  /// Why it is not connected, without secrets.
  var trouble: String?
  var pendingEntries: Int64 = 0
  var undeliveredEntries: Int64 = 0
  /// Unix milliseconds of the oldest entry that waits, by its id; nil when none does.
  var oldestWaitingMilliseconds: UInt64?
  /// Of the stream's first entry, by its id; `.max` when it has none, nil before it is known.
  var oldestMilliseconds: UInt64?

  /// Age of the oldest entry that waits in any of the streams, 0 when none does.
  static func lagSeconds(_ streams: [StreamProgress]) -> Double {
    let now = Clock.unixNanoseconds() / 1_000_000
    let oldest = streams.compactMap(\.oldestWaitingMilliseconds).min() ?? now
    return now > oldest ? Double(now - oldest) / 1000 : 0
  }
}

final class EngineState: Sendable {
  /// Something the daemon cannot go on with: its exit code and a sentence.
  struct Fatal: Error, Sendable {
    let code: ExitCode
    let message: String
  }

  private struct State {
    var streams: [StreamProgress]
    var writerTrouble: String?
    var isWriterOpen = false
    var isStandby = false
    var fatal: Fatal?
    /// The latest; what readers go by.
    var healRequest: HealRequest?
    /// The latest request that the reader of each stream has done.
    var healed: [Int]
    var leftBehind: Int64?
    /// Copies of the writer's states, after each commit.
    var committed: [StreamState] = []
  }
  private let state: Monitor<State>
  /// Monotonic nanoseconds of the writer's latest turn: what liveness is told by.
  let lastTurn = Atomic<UInt64>(Clock.monotonicNanoseconds())

  init(streams: Int) {
    state = Monitor(
      State(
        streams: .init(repeating: StreamProgress(), count: streams), healed: .init(repeating: 0, count: streams)))
  }

  func update(stream: Int, _ change: (inout StreamProgress) -> Void) { state.withLock { change(&$0.streams[stream]) } }
  var streams: [StreamProgress] { state.read { $0.streams } }

  func setWriter(open: Bool, trouble: String?) {
    state.withLock { state in
      state.isWriterOpen = open
      state.writerTrouble = trouble
    }
  }
  func setStandby(_ isStandby: Bool) { state.withLock { $0.isStandby = isStandby } }
  var isStandby: Bool { state.read { $0.isStandby } }
  /// The database is open, or it is known why not: what a service manager waits for at the start.
  var hasWriterSettled: Bool { state.read { $0.isWriterOpen || $0.isStandby || $0.writerTrouble != nil } }
  var writerTrouble: String? { state.read { $0.writerTrouble } }

  /// Entries in streams that are not read any more; nil before they were looked for.
  var leftBehind: Int64? { state.read { $0.leftBehind } }
  func setLeftBehind(_ entries: Int64) { state.withLock { $0.leftBehind = entries } }

  func publish(_ committed: [StreamState]) { state.withLock { $0.committed = committed } }
  var committed: [StreamState] { state.read { $0.committed } }

  /// What the reader of a stream goes by.
  func state(of stream: Int) -> (known: StreamState, healRequest: HealRequest?, isWriterInTrouble: Bool) {
    state.read { ($0.committed[stream], $0.healRequest, $0.writerTrouble != nil) }
  }

  /// The first fatal error wins.
  func fail(_ fatal: Fatal) { state.withLock { state in if state.fatal == nil { state.fatal = fatal } } }
  var fatal: Fatal? { state.read { $0.fatal } }

  /// Ready: the writer writes and every reader is connected and has caught up with its pending entries.
  var isReady: Bool {
    state.read { state in
      state.isWriterOpen && state.writerTrouble == nil && !state.isStandby
        && state.streams.allSatisfy { $0.isConnected && $0.isCaughtUp }
    }
  }

  // MARK: heal

  /// Asks every reader to read its stream again from an id; returns the request's number. A reader does the latest one
  /// only, so that one begins where the earliest begins of those that are not done.
  func requestHeal(from id: EntryID) -> Int {
    state.withLock { state in
      var request = HealRequest(serial: 1, from: id)
      if let last = state.healRequest {
        let isOpen = state.healed.contains { $0 < last.serial }
        request = HealRequest(serial: last.serial + 1, from: isOpen ? min(id, last.from) : id)
      }
      state.healRequest = request
      return request.serial
    }
  }
  /// A reader has done a request, and with it all before it.
  func finishHeal(_ serial: Int, stream: Int) { state.withLock { $0.healed[stream] = max($0.healed[stream], serial) } }
  func waitForHeal(_ serial: Int, milliseconds: Int) -> Bool {
    state.wait(milliseconds: milliseconds) { $0.healed.allSatisfy { $0 >= serial } ? true : nil } ?? false
  }
}
