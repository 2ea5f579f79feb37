// Regressions: scenarios that failed once, shortened, as files. Read once.

import Glibc
import Simulation

enum Regressions {
  /// Those that fail still, and why.
  static let open: [String: String] = [
    "late-stop-time": "a stopped that comes after the return, by another tracker: the pause between counts as time",
    "hasty-restart-late":
      "the started of a second life comes late by 0.1 s: it is taken for that of the first, and its bytes are silently lost",
    "hasty-restart-after-stop": "the same after a stopped",
    "second-life-known-first":
      "the first life, of lower counters, comes after the second one's started: taken for one life, some bytes silently lost",
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
