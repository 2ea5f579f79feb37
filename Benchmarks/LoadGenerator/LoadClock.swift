// LoadClock: time, and the CPU time of the process under test. Used by the load loops.

import Glibc

/// The monotonic clock.
enum LoadClock {
  @inline(__always)
  static func now() -> UInt64 {
    var time = timespec()
    clock_gettime(CLOCK_MONOTONIC, &time)
    return UInt64(time.tv_sec) &* 1_000_000_000 &+ UInt64(time.tv_nsec)
  }
}

/// The CPU time of a process.
enum ProcessorTime {
  /// Nanoseconds all threads of a process that live now have run (the first number of proc(5)'s schedstat, which has the
  /// scheduler's own resolution); nil when there is no such process.
  static func nanoseconds(of pid: Int32) -> UInt64? {
    guard pid > 0, let folder = opendir("/proc/\(pid)/task") else { return nil }
    defer { closedir(folder) }
    var sum: UInt64 = 0
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(cString: $0.bindMemory(to: CChar.self).baseAddress!)
      }
      if name.hasPrefix(".") { continue }
      sum += firstNumber(of: "/proc/\(pid)/task/\(name)/schedstat") ?? 0
    }
    return sum
  }

  private static func firstNumber(of path: String) -> UInt64? {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 128)
    let length = read(descriptor, &bytes, bytes.count)
    guard length > 0 else { return nil }
    return UInt64(String(decoding: bytes[..<length].prefix { $0 != UInt8(ascii: " ") }, as: UTF8.self))
  }
}
