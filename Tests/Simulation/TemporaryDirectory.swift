// TemporaryDirectory: a directory of a test's or the demo's own, removed with everything in it. Any thread.

import Foundation

/// A new directory, removed when the value goes away (or by `ChildProcess`' guard when this process dies first).
/// Short, because a unix socket's path holds 107 bytes (unix(7)).
public final class TemporaryDirectory: Sendable {
  /// Absolute, without a trailing slash.
  public let path: String
  private let isKept: Bool

  /// Makes a directory below `parent` (default `TMPDIR` or /tmp), named `prefix` and six characters. `keep`: leave it when the value goes away.
  public init(parent: String? = nil, prefix: String = "pt", keep: Bool = false) throws(HarnessError) {
    let parent = parent ?? getenv("TMPDIR").map { String(cString: $0) } ?? "/tmp"
    var template = Array("\(parent)/\(prefix)-XXXXXX".utf8CString)
    guard template.withUnsafeMutableBufferPointer({ mkdtemp($0.baseAddress!) }) != nil else {
      throw HarnessError("mkdtemp in \(parent): \(String(cString: strerror(errno)))")
    }
    path = template.withUnsafeBufferPointer { String(cString: $0.baseAddress!) }
    isKept = keep
    if !keep { ProcessGuard.shared.watch(directory: path) }
  }

  /// Writes a file of this name and returns its path.
  @discardableResult
  public func write(_ text: String, as name: String) throws(HarnessError) -> String {
    let target = "\(path)/\(name)"
    guard let file = fopen(target, "w") else {
      throw HarnessError("open \(target): \(String(cString: strerror(errno)))")
    }
    defer { fclose(file) }
    guard fputs(text, file) >= 0 else { throw HarnessError("write \(target): \(String(cString: strerror(errno)))") }
    return target
  }

  /// A file's text, empty when there is no such file.
  public static func read(_ path: String) -> String {
    guard let file = fopen(path, "r") else { return "" }
    defer { fclose(file) }
    var text: [UInt8] = []
    var buffer = [UInt8](repeating: 0, count: 65536)
    while true {
      let count = fread(&buffer, 1, buffer.count, file)
      if count == 0 { return String(decoding: text, as: UTF8.self) }
      text += buffer[..<count]
    }
  }

  deinit {
    guard !isKept else { return }
    try? FileManager.default.removeItem(atPath: path)
    ProcessGuard.shared.release(directory: path)
  }
}

/// What went wrong in the harness (not in what is tested), in words.
public struct HarnessError: Error, CustomStringConvertible, Sendable {
  public let description: String
  public init(_ description: String) { self.description = description }
}
