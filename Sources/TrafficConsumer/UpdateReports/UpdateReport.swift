// UpdateReport: what a run of dist/self-update-runner.sh left behind: a JSON file in a directory. Pure, but for `read`.

import SQLite

/// One run of a task, with the names of the file's fields.
struct UpdateReport: Equatable, Sendable {
  /// `self-update-run`.
  var type: String
  /// Missing in old reports: false.
  var isDryRun: Bool
  /// Unix seconds.
  var startedAt: Int64
  var finishedAt: Int64
  /// `succeeded` or `failed`.
  var status: String
  var exitCode: Int64
  var binaryPath: String
  /// nil when the run ended before it knew.
  var releaseTag: String?
  /// The end of what it wrote to standard error.
  var stderrTail: String
  var runnerHost: String
  var runnerPID: Int64

  /// Four kilobytes of standard error, each byte escaped to six, and the rest: more is no report of ours.
  static let maximumBytes = 64 << 10

  /// Why a file is no report.
  enum Fault: Error, Equatable, CustomStringConvertible {
    case tooLarge(Int)
    case malformed(String)

    var description: String {
      switch self {
      case .tooLarge(let bytes): "\(bytes) bytes, at most \(UpdateReport.maximumBytes) are read"
      case .malformed(let detail): detail
      }
    }
  }

  /// Decodes a file's bytes.
  static func decode(_ bytes: some Collection<UInt8>) throws(Fault) -> UpdateReport {
    guard bytes.count <= maximumBytes else { throw .tooLarge(bytes.count) }
    guard let text = String(validating: bytes, as: UTF8.self) else { throw .malformed("not JSON") }
    let report: Result<UpdateReport, Fault>
    do throws(SQLiteError) { report = try ReportFields.read(text, decode) } catch { throw .malformed("not JSON") }
    return try report.get()
  }

  private static func decode(_ field: borrowing ReportFields) throws(Fault) -> UpdateReport {
    UpdateReport(
      type: try field.text("type"), isDryRun: try field.flag("dry_run") ?? false,
      startedAt: try field.number("started_at"), finishedAt: try field.number("finished_at"),
      status: try field.text("status"), exitCode: try field.number("exit_code"),
      binaryPath: try field.text("binary_path"), releaseTag: try field.textIfAny("release_tag"),
      stderrTail: try field.text("stderr_tail"), runnerHost: try field.text("runner_host"),
      runnerPID: try field.number("runner_pid"))
  }
}

/// The fields of a JSON object, by SQLite's JSON functions (https://sqlite.org/json1.html): the rest of this program needs
/// no JSON reader, and Foundation's would be most of its memory.
private struct ReportFields: ~Copyable {
  private let select: SQLiteStatement

  private init(_ select: consuming SQLiteStatement) { self.select = select }

  /// Calls `body` with the fields of a text; throws when it is not JSON.
  static func read<Value>(
    _ text: String, _ body: (borrowing ReportFields) throws(UpdateReport.Fault) -> Value
  ) throws(SQLiteError) -> Result<Value, UpdateReport.Fault> {
    let database = try SQLiteDatabase(path: ":memory:", access: .readWriteCreate)
    let check = try database.prepare("SELECT json_type(?1)")
    try check.bind(text, at: 1)
    guard try check.step(), check.text(0) == "object" else {
      return .failure(.malformed("a report is an object"))
    }
    let fields = ReportFields(try database.prepare("SELECT json_type(?1, '$.' || ?2), json_extract(?1, '$.' || ?2)"))
    try fields.select.bind(text, at: 1)
    return Result { () throws(UpdateReport.Fault) in try body(fields) }
  }

  func text(_ name: String) throws(UpdateReport.Fault) -> String {
    guard let text = try textIfAny(name) else { throw .malformed("\(name) is missing") }
    return text
  }

  /// nil when it is missing or null.
  func textIfAny(_ name: String) throws(UpdateReport.Fault) -> String? {
    try value(name, ["text"]) { $0.text(1) }
  }

  func number(_ name: String) throws(UpdateReport.Fault) -> Int64 {
    guard let number = try value(name, ["integer"], { $0.integer(1) }) else { throw .malformed("\(name) is missing") }
    return number
  }

  func flag(_ name: String) throws(UpdateReport.Fault) -> Bool? {
    try value(name, ["true", "false"]) { $0.integer(1) != 0 }
  }

  private func value<Value>(
    _ name: String, _ types: [String], _ read: (borrowing SQLiteStatement) -> Value
  ) throws(UpdateReport.Fault) -> Value? {
    defer { select.reset() }
    do throws(SQLiteError) {
      try select.bind(name, at: 2)
      _ = try select.step()
    } catch {
      throw .malformed("not JSON")
    }
    if select.isNull(0) || select.text(0) == "null" { return nil }
    guard types.contains(select.text(0)) else { throw .malformed("\(name) has the wrong type") }
    return read(select)
  }
}
