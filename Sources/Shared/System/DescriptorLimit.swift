// DescriptorLimit: RLIMIT_NOFILE. Called once by a daemon at start.

import Glibc

/// How many descriptors the process may have open.
public enum DescriptorLimit {
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
