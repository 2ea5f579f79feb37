// Log: events with fields on standard error, one line each, as text or JSON. Any thread. Never passkeys, secrets or
// full URLs in a field. Not for the announce path: a line costs an allocation and a write.

import Glibc
import Synchronization

/// How much is written.
public enum LogLevel: Int, Sendable, Comparable, CaseIterable {
  case debug, info, warning, error

  public static func < (left: LogLevel, right: LogLevel) -> Bool { left.rawValue < right.rawValue }

  var name: String {
    switch self {
    case .debug: "debug"
    case .info: "info"
    case .warning: "warning"
    case .error: "error"
    }
  }
}

/// What a field may hold.
public protocol LogValue: Sendable {
  /// Whether JSON shows it without quotes.
  var isBareJSON: Bool { get }
  var logText: String { get }
}
extension String: LogValue {
  public var isBareJSON: Bool { false }
  public var logText: String { self }
}
extension Bool: LogValue {
  public var isBareJSON: Bool { true }
  public var logText: String { self ? "true" : "false" }
}
extension LogValue where Self: BinaryInteger {
  public var isBareJSON: Bool { true }
  public var logText: String { String(self) }
}
extension Int: LogValue {}
extension Int32: LogValue {}
extension Int64: LogValue {}
extension UInt64: LogValue {}
extension UInt32: LogValue {}
extension UInt16: LogValue {}
extension Double: LogValue {
  public var isBareJSON: Bool { isFinite }
  public var logText: String { String(self) }
}

/// The process' log. `Log.info("redis unreachable", ["endpoint": name, "retry_seconds": 3])`.
public enum Log {
  private static let minimum = Atomic<Int>(LogLevel.info.rawValue)
  private static let json = Atomic<Bool>(false)

  /// Sets what is written and how; `--debug` and `--json` of both daemons end here.
  public static func configure(level: LogLevel, json asJSON: Bool) {
    minimum.store(level.rawValue, ordering: .relaxed)
    json.store(asJSON, ordering: .relaxed)
  }

  /// Sets what is written and leaves the form.
  public static func setLevel(_ level: LogLevel) { minimum.store(level.rawValue, ordering: .relaxed) }

  /// Whether a line of this level would be written, for callers that must compute its fields.
  public static func isEnabled(_ level: LogLevel) -> Bool { level.rawValue >= minimum.load(ordering: .relaxed) }

  public static func debug(_ event: String, _ fields: KeyValuePairs<String, any LogValue> = [:]) {
    write(.debug, event, fields)
  }
  public static func info(_ event: String, _ fields: KeyValuePairs<String, any LogValue> = [:]) {
    write(.info, event, fields)
  }
  public static func warning(_ event: String, _ fields: KeyValuePairs<String, any LogValue> = [:]) {
    write(.warning, event, fields)
  }
  public static func error(_ event: String, _ fields: KeyValuePairs<String, any LogValue> = [:]) {
    write(.error, event, fields)
  }

  private static func write(_ level: LogLevel, _ event: String, _ fields: KeyValuePairs<String, any LogValue>) {
    guard isEnabled(level) else { return }
    var line =
      json.load(ordering: .relaxed)
      ? jsonLine(time: timestamp(Clock.unixNanoseconds()), level, event, fields)
      : textLine(time: timestamp(Clock.unixNanoseconds()), level, event, fields)
    line.append("\n")
    // One write per line: lines of two threads do not mix (pipe(7), PIPE_BUF).
    line.withUTF8 { bytes in _ = retryingInterrupts { Glibc.write(STDERR_FILENO, bytes.baseAddress, bytes.count) } }
  }

  static func textLine(
    time: String, _ level: LogLevel, _ event: String, _ fields: KeyValuePairs<String, any LogValue>
  ) -> String {
    var line = "\(time) \(level.name.uppercased()) \(event)"
    for (key, value) in fields {
      let text = value.logText
      let plain = !text.isEmpty && text.utf8.allSatisfy { $0 > 0x20 && $0 != 0x22 && $0 != 0x3d && $0 != 0x7f }
      line += plain ? " \(key)=\(text)" : " \(key)=\(JSONText.quoted(text))"
    }
    return line
  }

  static func jsonLine(
    time: String, _ level: LogLevel, _ event: String, _ fields: KeyValuePairs<String, any LogValue>
  ) -> String {
    var line = "{\"time\":\"\(time)\",\"level\":\"\(level.name)\",\"event\":\(JSONText.quoted(event))"
    for (key, value) in fields {
      line += ",\(JSONText.quoted(key)):\(value.isBareJSON ? value.logText : JSONText.quoted(value.logText))"
    }
    return line + "}"
  }

  private static func timestamp(_ nanoseconds: UInt64) -> String {
    var seconds = time_t(nanoseconds / 1_000_000_000)
    var parts = tm()
    gmtime_r(&seconds, &parts)
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 32) { buffer in
      strftime(buffer.baseAddress!, 32, "%Y-%m-%dT%H:%M:%S", &parts)
      let milliseconds = String(nanoseconds / 1_000_000 % 1000 + 1000).dropFirst()
      return "\(String(cString: buffer.baseAddress!)).\(milliseconds)Z"
    }
  }
}
