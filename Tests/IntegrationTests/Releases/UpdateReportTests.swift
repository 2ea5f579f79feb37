// What dist/self-update-runner.sh leaves of each run, and that the consumer takes it in. Fixture: Installation.swift.

import Foundation
import Simulation
import Testing

@Suite("reports of updates")
struct UpdateReportTests {
  /// The runner's report, as site guides describe it.
  private struct Report: Decodable {
    var type: String
    var dryRun: Bool
    var startedAt: Int64
    var finishedAt: Int64
    var status: String
    var exitCode: Int
    var binaryPath: String
    var releaseTag: String?
    var stderrTail: String
    var runnerHost: String
    var runnerPid: Int

    static func read(_ path: String) throws -> Report {
      let decoder = JSONDecoder()
      decoder.keyDecodingStrategy = .convertFromSnakeCase
      return try decoder.decode(Report.self, from: Data(TemporaryDirectory.read(path).utf8))
    }
  }

  @Test("the runner leaves a report of success and of failure, and the consumer imports each once")
  func reports() async throws {
    let installation = try await Installation()
    try await installation.release("1.1.0")
    let good = try await installation.runner([], ["PT_SELF_UPDATE_DRY_RUN": "yes"])
    #expect(good.exit == .code(0), "\(good.output)\(good.errors)")
    try await installation.release("1.2.0", checksum: "none\n")
    let bad = try await installation.runner()
    #expect(bad.exit == .code(65) && bad.errors.contains("holds no SHA-256"))
    try await installation.release("1.3.0", key: "stranger")
    let forged = try await installation.runner()
    #expect(forged.exit == .code(77) && forged.errors.contains("nothing has changed"), "\(forged.errors)")
    let names = try FileManager.default.contentsOfDirectory(atPath: installation.reportFolder).sorted()
    #expect(names.count == 3 && names.allSatisfy { $0.hasPrefix("self-update-") && $0.hasSuffix(".json") })
    let reports = try names.map {
      try Report.read("\(installation.reportFolder)/\($0)")
    }.sorted { $0.exitCode < $1.exitCode }
    #expect(reports.map(\.status) == ["succeeded", "failed", "wrong_signature"])
    #expect(reports.map(\.exitCode) == [0, 65, 77] && reports.map(\.dryRun) == [true, false, false])
    #expect(reports.map(\.releaseTag) == ["v1.1.0", "v1.2.0", "v1.3.0"])
    #expect(reports.allSatisfy { $0.type == "self-update-run" && $0.startedAt <= $0.finishedAt && $0.runnerPid > 0 })
    #expect(reports[1].stderrTail.contains("holds no SHA-256") && reports[0].stderrTail.isEmpty)
    #expect(reports.allSatisfy { $0.binaryPath == "\(installation.binaries)/tracker" && !$0.runnerHost.isEmpty })

    try await installation.start()
    try await eventually("all imported", evidence: installation.log) {
      let tasks = try await installation.tasks()
      let rows = try JSONSerialization.jsonObject(with: Data(tasks.output.utf8)) as? [[String: Any]]
      return rows?.compactMap { $0["exit_code"] as? Int }.sorted() == [0, 65, 77]
    }
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: installation.reportFolder).allSatisfy {
        $0.hasSuffix(".json.imported")
      })
  }

  @Test("the report holds what a terminal never showed: quotes, control characters, bytes that are no text")
  func escapes() async throws {
    let directory = try TemporaryDirectory()
    let script = "\(directory.path)/update"
    try await Installation.program(
      "#!/bin/sh\nprintf 'a \"b\" \\\\ \\t \\001 \\377 \\303\\274\\nend' >&2\nexit 3\n", at: script)
    let result = try await CommandResult.run(
      [Repository.path("dist/self-update-runner.sh")],
      environment: ["PT_UPDATE_COMMAND": script, "PT_SELF_UPDATE_REPORT_DIR": directory.path + "/reports"])
    #expect(result.exit == .code(3))
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/reports").first)
    let report = try Report.read("\(directory.path)/reports/\(name)")
    #expect(report.stderrTail == "a \"b\" \\ \t \u{1}  ü\nend" && report.releaseTag == nil)
  }

  @Test("a runner that is stopped leaves a report, too")
  func stopped() async throws {
    let directory = try TemporaryDirectory()
    let script = "\(directory.path)/update"
    try await Installation.program(
      "#!/bin/sh\necho begun > \(directory.path)/begun\nexec tail -f /dev/null\n", at: script)
    let runner = try ChildProcess(
      [Repository.path("dist/self-update-runner.sh")], name: "runner", logPath: "\(directory.path)/log",
      environment: ["PT_UPDATE_COMMAND": script, "PT_SELF_UPDATE_REPORT_DIR": directory.path + "/reports"])
    try await eventually("begun") { FileManager.default.fileExists(atPath: directory.path + "/begun") }
    #expect(try await runner.terminate() == .code(143))
    let name = try #require(try FileManager.default.contentsOfDirectory(atPath: directory.path + "/reports").first)
    #expect(TemporaryDirectory.read("\(directory.path)/reports/\(name)").contains("\"exit_code\":143"))
  }
}
