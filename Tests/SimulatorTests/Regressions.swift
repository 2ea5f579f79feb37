// Regressions: scenarios that failed once, shortened, as files. Read once.

import Glibc
import Simulation

enum Regressions {
  /// Those that fail still, and why.
  static let open: [String: String] = [
    "redis-clock-two-trackers":
      "redis' clock steps while one of two trackers is away from it: their orders do not compare, bytes are minted",
    "redis-clock-minted":
      "redis' clock steps between two looks at it: the tracker's next announce seems older than its generation, and what "
      + "the client had before anybody looked is credited",
    "late-unknown-false": "a restart across two trackers, one of them cut off, counts as unknown; nothing is missing",
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
