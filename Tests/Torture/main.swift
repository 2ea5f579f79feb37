// `make torture`: seeds one after the other through both daemons and a real Redis; see Torture.

import Foundation
import Simulation

func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Whether the seed's totals are what was announced, or what is missing is reported; says what happened.
nonisolated func passes(_ seed: UInt64, _ fault: String?) async -> Bool {
  let begin = Date()
  let words: String
  var passed = true
  do {
    words = ": \(try await Torture(seed: seed, only: fault).run())"
  } catch {
    passed = false
    words = " FAILED (make torture SEEDS=1 SEED=\(seed)):\n\(error)"
  }
  say("seed \(seed) (\(Int(Date().timeIntervalSince(begin))) s)\(words)")
  return passed
}

let arguments = CommandLine.arguments.dropFirst()
if arguments.contains("--list") {
  for fault in Fault.table { say("\(fault.name): \(fault.loss)") }
  exit(0)
}
let numbers = arguments.compactMap { UInt64($0) }
// Words are a part of a fault's name: only such faults happen.
let only = arguments.first { UInt64($0) == nil }
let seeds = max(1, numbers.first ?? 5)
let first = numbers.dropFirst().first ?? UInt64.random(in: 1...999_999)
var failed = 0
for seed in first..<first + seeds where await !passes(seed, only) { failed += 1 }
say("\(Int(seeds) - failed) passed, \(failed) failed")
exit(failed == 0 ? 0 : 1)
