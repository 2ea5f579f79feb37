// DescriptorLimit: RLIMIT_NOFILE. Called once by a daemon at start.

import Glibc

/// How many descriptors the process may have open.
public enum DescriptorLimit {
  /// Descriptors that are not for connections: listeners, epoll, Redis, files, the admin port.
  private static let reserved = 512

  /// How many connections each of `workers` may hold so that descriptors do not run out, at most `wanted`.
  public static func connectionsPerWorker(workers: Int, wanted: Int) -> Int {
    max(1, min(wanted, (raise() - reserved) / max(1, workers)))
  }

  /// Raises the soft limit (often 1024) to the hard limit and returns it; a daemon with one connection per client
  /// needs it, and nothing here uses select(2), the reason for the low default.
  @discardableResult
  public static func raise() -> Int {
    var limit = rlimit()
    guard getrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) == 0 else { return 1024 }
    if limit.rlim_cur < limit.rlim_max {
      let soft = limit.rlim_cur
      limit.rlim_cur = limit.rlim_max
      if setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit) != 0 { limit.rlim_cur = soft }
    }
    return Int(clamping: limit.rlim_cur)
  }
}
