// docs/accounting.md has a line for every fault that the simulator makes, and every line names a fault or the tests that
// show it: the page and the simulator cannot drift apart.

import Foundation
import Simulation
import Testing

@Suite struct DocumentedFaultsTests {
  private static let header = "| fault | what the operator sees | lost at most | recovers | shown by |"

  /// The rows of all tables with that header, as cells.
  private func rows() -> [[String]] {
    var rows: [[String]] = []
    var isInTable = false
    for line in TemporaryDirectory.read(Repository.path("docs/accounting.md")).split(
      separator: "\n", omittingEmptySubsequences: false)
    {
      guard line.hasPrefix("|") else {
        isInTable = false
        continue
      }
      if isInTable, !line.hasPrefix("|---") {
        let cells = line.dropFirst().dropLast().split(separator: "|")
        rows.append(cells.map { $0.trimmingCharacters(in: .whitespaces) })
      }
      if line == Self.header { isInTable = true }
    }
    return rows
  }

  /// The names of all files of tests.
  private func testFiles(in folder: String) -> Set<String> {
    var names: Set<String> = []
    for case let path as String in FileManager.default.enumerator(atPath: folder) ?? .init()
    where path.hasSuffix("Tests.swift") {
      names.insert(String(path.split(separator: "/").last!.dropLast(6)))
    }
    return names
  }

  @Test func everyFaultHasALineAndEveryLineItsTest() {
    let rows = rows()
    let tests = testFiles(in: Repository.path("Tests"))
    var shown: Set<FaultKind> = []
    #expect(rows.count > 20)
    for row in rows {
      #expect(row.count == 5 && row.allSatisfy { !$0.isEmpty }, "a cell is empty: \(row)")
      let names = row.last?.split { ",; ".contains($0) } ?? []
      #expect(!names.isEmpty, "\(row[0]): nothing shows it")
      for name in names {
        if let kind = FaultKind(rawValue: String(name)) {
          shown.insert(kind)
        } else {
          let isTest = tests.contains(String(name))
          #expect(isTest, "\(row[0]): \(name) is no fault of the simulator, and no tests")
        }
      }
    }
    for kind in FaultKind.allCases where !FaultKind.settings.contains(kind) {
      let isThere = shown.contains(kind)
      #expect(isThere, "\(kind) has no line in docs/accounting.md")
    }
    #expect(shown.isDisjoint(with: FaultKind.settings))
  }
}
