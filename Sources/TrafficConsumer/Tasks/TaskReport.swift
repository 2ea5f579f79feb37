// TaskReport: what a run of dist/self-update-runner.sh left behind: a JSON file in a directory. Pure, but for `read`.

import Foundation

/// One run of a task, with the names of the file's fields.
struct TaskReport: Equatable, Sendable, Decodable {
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

  enum CodingKeys: String, CodingKey {
    case type, status
    case isDryRun = "dry_run"
    case startedAt = "started_at"
    case finishedAt = "finished_at"
    case exitCode = "exit_code"
    case binaryPath = "binary_path"
    case releaseTag = "release_tag"
    case stderrTail = "stderr_tail"
    case runnerHost = "runner_host"
    case runnerPID = "runner_pid"
  }

  /// Four kilobytes of standard error, each byte escaped to six, and the rest: more is no report of ours.
  static let maximumBytes = 64 << 10

  /// Why a file is no report.
  enum Fault: Error, Equatable, CustomStringConvertible {
    case tooLarge(Int)
    case malformed(String)

    var description: String {
      switch self {
      case .tooLarge(let bytes): "\(bytes) bytes, at most \(TaskReport.maximumBytes) are read"
      case .malformed(let detail): detail
      }
    }
  }

  init(from decoder: any Decoder) throws {
    let values = try decoder.container(keyedBy: CodingKeys.self)
    type = try values.decode(String.self, forKey: .type)
    isDryRun = try values.decodeIfPresent(Bool.self, forKey: .isDryRun) ?? false
    startedAt = try values.decode(Int64.self, forKey: .startedAt)
    finishedAt = try values.decode(Int64.self, forKey: .finishedAt)
    status = try values.decode(String.self, forKey: .status)
    exitCode = try values.decode(Int64.self, forKey: .exitCode)
    binaryPath = try values.decode(String.self, forKey: .binaryPath)
    releaseTag = try values.decodeIfPresent(String.self, forKey: .releaseTag)
    stderrTail = try values.decode(String.self, forKey: .stderrTail)
    runnerHost = try values.decode(String.self, forKey: .runnerHost)
    runnerPID = try values.decode(Int64.self, forKey: .runnerPID)
  }

  /// Decodes a file's bytes.
  static func decode(_ bytes: Data) throws(Fault) -> TaskReport {
    guard bytes.count <= maximumBytes else { throw .tooLarge(bytes.count) }
    do {
      return try JSONDecoder().decode(TaskReport.self, from: bytes)
    } catch DecodingError.keyNotFound(let key, _) {
      throw .malformed("\(key.stringValue) is missing")
    } catch DecodingError.typeMismatch(_, let context), DecodingError.valueNotFound(_, let context) {
      throw .malformed("\(context.codingPath.map(\.stringValue).joined(separator: ".")) has the wrong type")
    } catch {
      throw .malformed("not JSON")
    }
  }
}
