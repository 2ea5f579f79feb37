import Foundation
import Simulation
import Testing

@testable import TrafficConsumer

@Suite("reports of self-update runs")
struct TaskTests {
  private static func report(_ more: String = "\"dry_run\":true,", tag: String = "\"v1.2.3\"") -> String {
    """
    {"type":"self-update-run",\(more)"started_at":1700000000,"finished_at":1700000005,"status":"failed","exit_code":69,
    "binary_path":"/usr/local/bin/tracker","release_tag":\(tag),"stderr_tail":"a \\"b\\"\\nc","runner_host":"h",
    "runner_pid":17}
    """
  }

  @Test("every field of a report is read; an old one without dry_run was no dry run")
  func decodes() throws {
    let read = try UpdateReport.decode(Data(Self.report().utf8))
    #expect(
      read
        == UpdateReport(
          type: "self-update-run", isDryRun: true, startedAt: 1_700_000_000, finishedAt: 1_700_000_005,
          status: "failed",
          exitCode: 69, binaryPath: "/usr/local/bin/tracker", releaseTag: "v1.2.3", stderrTail: "a \"b\"\nc",
          runnerHost: "h", runnerPID: 17))
    let old = try UpdateReport.decode(Data(Self.report("", tag: "null").utf8))
    #expect(!old.isDryRun && old.releaseTag == nil)
  }

  @Test(
    "what is no report says why",
    arguments: [
      ("", UpdateReport.Fault.malformed("not JSON")), ("[]", .malformed("a report is an object")),
      ("{\"type\":\"x\"}", .malformed("started_at is missing")),
      ("{\"type\":1}", .malformed("type has the wrong type")),
    ])
  func refuses(text: String, fault: UpdateReport.Fault) {
    #expect(throws: fault) { try UpdateReport.decode(Data(text.utf8)) }
  }

  @Test("a report may have its maximum size and no byte more")
  func limit() throws {
    let text = Self.report()
    let longest = text + String(repeating: " ", count: UpdateReport.maximumBytes - text.utf8.count)
    #expect(try UpdateReport.decode(Data(longest.utf8)).exitCode == 69)
    #expect(throws: UpdateReport.Fault.tooLarge(UpdateReport.maximumBytes + 1)) {
      try UpdateReport.decode(Data((longest + " ").utf8))
    }
  }

  @Test(
    "each file is imported once, also when it could not be renamed; what is no report is set aside; no folder is no error"
  )
  func imports() throws {
    let directory = try TemporaryDirectory()
    let folder = try TemporaryDirectory()
    let writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: "\(directory.path)/t.db", streamNames: ["s"], windowSeconds: 3600, maximumDeliveries: 3))
    try folder.write(Self.report(), as: "self-update-1-1.json")
    try folder.write(Self.report(), as: "self-update-2-1.json.tmp")
    try folder.write("nonsense", as: "self-update-3-1.json")
    #expect(try writer.importUpdateReports(from: folder.path, now: 5) == 1)
    // As a crash between the commit and the rename leaves it.
    try folder.write(Self.report(), as: "self-update-1-1.json")
    #expect(try writer.importUpdateReports(from: folder.path, now: 6) == 0)
    let rows = try UpdateReportTable.list(limit: 10, in: writer.database)
    #expect(rows.map(\.file) == ["self-update-1-1.json"] && rows.map(\.importedAt) == [5])
    #expect(
      try FileManager.default.contentsOfDirectory(atPath: folder.path).sorted() == [
        "self-update-1-1.json.imported", "self-update-2-1.json.tmp", "self-update-3-1.json.rejected",
      ])
    #expect(try writer.importUpdateReports(from: "/nonexistent", now: 7) == 0)
  }

  @Test("a turn takes a limited number of files, the next turn the rest")
  func turns() throws {
    let directory = try TemporaryDirectory()
    let writer = try StoreWriter(
      settings: StoreWriter.Settings(
        databasePath: "\(directory.path)/t.db", streamNames: ["s"], windowSeconds: 3600, maximumDeliveries: 3))
    for index in 0...StoreWriter.updateReportsPerTurn { try directory.write(Self.report(), as: "r-\(index).json") }
    #expect(try writer.importUpdateReports(from: directory.path, now: 1) == StoreWriter.updateReportsPerTurn)
    #expect(try writer.importUpdateReports(from: directory.path, now: 1) == 1)
  }
}
