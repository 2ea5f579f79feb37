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
struct ProcessorTime {
  /// 0: none is measured.
  var pid: Int32 = 0
  /// Only threads whose names begin so; empty: all.
  var threadPrefix = ""

  /// Nanoseconds that the process' threads that live now have run (the first number of proc(5)'s schedstat, which has the
  /// scheduler's own resolution); nil when there is no such process.
  func nanoseconds() -> UInt64? {
    guard pid > 0, let folder = opendir("/proc/\(pid)/task") else { return nil }
    defer { closedir(folder) }
    var sum: UInt64 = 0
    while let entry = readdir(folder) {
      let name = withUnsafeBytes(of: &entry.pointee.d_name) {
        String(cString: $0.bindMemory(to: CChar.self).baseAddress!)
      }
      if name.hasPrefix(".") { continue }
      let folder = "/proc/\(pid)/task/\(name)"
      if !threadPrefix.isEmpty && Self.text(of: "\(folder)/comm")?.hasPrefix(threadPrefix) != true { continue }
      let text = Self.text(of: "\(folder)/schedstat") ?? ""
      sum += UInt64(text.prefix { $0 != " " }) ?? 0
    }
    return sum
  }

  private static func text(of path: String) -> String? {
    let descriptor = open(path, O_RDONLY)
    guard descriptor >= 0 else { return nil }
    defer { close(descriptor) }
    var bytes = [UInt8](repeating: 0, count: 128)
    let length = read(descriptor, &bytes, bytes.count)
    guard length > 0 else { return nil }
    return String(decoding: bytes[..<length], as: UTF8.self)
  }
}
