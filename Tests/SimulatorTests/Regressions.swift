// Regressions: scenarios that failed once, shortened, as files. Read once.

import Glibc
import Simulation

enum Regressions {
  /// Those that fail still, and why.
  static let open: [String: String] = [
    "standstill-unwitnessed":
      "a machine stands still while nobody else knows the clock: it takes that for a step of Redis' clock, and has all wait",
    "late-stop-time": "a stopped that comes after the return, by another tracker: the pause between counts as time",
  ]

  private static let folder = Repository.path("Tests/SimulatorTests/Regressions")

  static let names: [String] = {
    var names: [String] = []
    guard let listing = opendir(folder) else { return [] }
    defer { closedir(listing) }
    while let entry = readdir(listing) {
      let name = withUnsafePointer(to: &entry.pointee.d_name) {
        $0.withMemoryRebound(to: CChar.self, capacity: 256) { String(cString: $0) }
      }
      if name.hasSuffix(".txt") { names.append(String(name.dropLast(4))) }
    }
    return names.sorted()
  }()

  static func text(_ name: String) -> String { TemporaryDirectory.read("\(folder)/\(name).txt") }
}
