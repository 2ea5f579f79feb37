// CrashPoint: the named places at which a test kills the process, in debug builds only. Any thread.

import Glibc
import Synchronization

/// `TRAFFIC_CONSUMER_CRASH=<name>:<n>` kills the process (SIGKILL, to itself) when it reaches that place for the n-th time.
enum CrashPoint: String, CaseIterable {
  /// Entries were read from Redis, nothing was done with them.
  case entriesRead
  /// Inside the transaction, before its first change and after its last one.
  case transactionBegun, beforeCommit
  /// The commit is durable; nothing is acknowledged.
  case afterCommit
  /// Before and after XACK.
  case beforeAck, afterAck
  /// After XTRIM.
  case afterTrim
  /// In the middle of a replay, after its commit.
  case afterReplay

  static func reach(_ point: CrashPoint) {
    #if DEBUG
      guard let armed, armed.point == point else { return }
      if reached.wrappingAdd(1, ordering: .relaxed).newValue == armed.count { kill(getpid(), SIGKILL) }
    #endif
  }

  #if DEBUG
    private static let reached = Atomic<Int>(0)
    private static let armed: (point: CrashPoint, count: Int)? = {
      guard let text = getenv("TRAFFIC_CONSUMER_CRASH").map({ String(cString: $0) }) else { return nil }
      let parts = text.split(separator: ":")
      guard parts.count == 2, let point = CrashPoint(rawValue: String(parts[0])), let count = Int(parts[1]) else {
        return nil
      }
      return (point, count)
    }()
  #endif
}
