// `make torture`: seeds one after the other through both daemons and a real Redis; see Torture.

import Foundation
import Simulation

func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }
let arguments = CommandLine.arguments.dropFirst().compactMap { UInt64($0) }
let seeds = arguments.first ?? 5
let first = arguments.dropFirst().first ?? UInt64.random(in: 1...999_999)
var failed = 0
for seed in first..<first + max(1, seeds) {
  do {
    var torture = try Torture(seed: seed)
    say("seed \(seed): \(try await torture.run())")
  } catch {
    failed += 1
    say("seed \(seed) FAILED (make torture SEEDS=1 SEED=\(seed)):\n\(error)")
  }
}
say("\(Int(max(1, seeds)) - failed) passed, \(failed) failed")
exit(failed == 0 ? 0 : 1)
