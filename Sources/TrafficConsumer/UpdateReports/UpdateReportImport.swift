// TaskImport: takes the reports of self-update runs into the database, each once. Writer thread, between batches.

import CLinux
import Glibc
import Linux
import SQLite

extension StoreWriter {
  /// Files looked at in one turn, so that batches do not wait; the rest has its turn later.
  static let updateReportsPerTurn = 20

  /// Imports the reports of `folder`: a row is committed first, then the file is renamed to `.json.imported`; a file that
  /// was imported and not renamed is recognised by its name. What is no report becomes `.json.rejected`. A folder that
  /// is not there holds none. Returns how many were imported.
  @discardableResult
  func importUpdateReports(from folder: String, now: Int64) throws(StoreError) -> Int {
    let names = Self.names(in: folder)
    let reports = names.filter { $0.hasSuffix(".json") && !$0.hasPrefix(".") }.sorted().prefix(
      Self.updateReportsPerTurn)
    var imported = 0
    for name in reports {
      let path = "\(folder)/\(name)"
      guard let bytes = Self.bytes(path) else { continue }
      let report: UpdateReport
      do throws(UpdateReport.Fault) {
        report = try UpdateReport.decode(bytes)
      } catch {
        Log.warning("a task report cannot be read, set aside", ["file": name, "error": error.description])
        Self.rename(path, to: path + ".rejected")
        continue
      }
      let isNew = try transaction { () throws(SQLiteError) in
        try UpdateReportTable.insert(report, file: name, now: now, in: database)
      }
      if isNew {
        imported += 1
        Log.info(
          "task report imported",
          ["file": name, "type": report.type, "status": report.status, "release_tag": report.releaseTag ?? "-"])
      }
      Self.rename(path, to: path + ".imported")
    }
    return imported
  }

  /// At most one byte more than a report may have.
  private static func bytes(_ path: String) -> [UInt8]? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    let bytes = [UInt8](unsafeUninitializedCapacity: UpdateReport.maximumBytes + 1) { buffer, count in
      count = fread(buffer.baseAddress, 1, buffer.count, file)
    }
    return ferror(file) == 0 ? bytes : nil
  }

  private static func names(in folder: String) -> [String] {
    guard let directory = opendir(folder) else { return [] }
    defer { closedir(directory) }
    var names: [String] = []
    while let entry = readdir(directory) {
      names.append(
        withUnsafePointer(to: &entry.pointee.d_name) { name in
          name.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
        })
    }
    return names
  }

  /// A rename that fails is tried again at the next turn, with the file.
  private static func rename(_ path: String, to target: String) {
    guard Glibc.rename(path, target) != 0 else { return }
    Log.warning("a task report cannot be renamed", ["error": SystemError("rename", subject: path).description])
  }
}
