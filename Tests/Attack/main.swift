// `make attack`: what strangers, liars and one hostile user do to a running tracker, one attack after the other, and what
// honest users notice of each; see Attack.

import Foundation
import Glibc
import Linux
import Simulation

func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Whether honest users noticed nothing; says what happened.
nonisolated func passes(_ scenario: AttackScenario, seconds: Double) async -> Bool {
  do {
    let outcome = try await Attack(scenario, seconds: seconds).run()
    say(outcome.text(scenario.name))
    return outcome.isHarmless
  } catch let reason as NotRun {
    say("\(scenario.name)\n    NOT RUN: \(reason)")
    return true
  } catch {
    say("\(scenario.name)\n    FAILED: \(error)")
    return false
  }
}

DescriptorLimit.raise()
let words = CommandLine.arguments.dropFirst()
/// Of each attack; what is started and compared around it takes another second or two.
let seconds = words.compactMap { Double($0) }.first ?? 4
// Words are parts of names: only such attacks happen.
let only = words.filter { Double($0) == nil }.flatMap { $0.split(separator: ",") }
let scenarios = AttackScenario.table.filter { scenario in
  only.isEmpty || only.contains { scenario.name.localizedCaseInsensitiveContains($0) }
}
var failed = 0
for scenario in scenarios where await !passes(scenario, seconds: seconds) { failed += 1 }
say("\(scenarios.count - failed) of \(scenarios.count) attacks: no honest user was refused, no byte lost")
exit(failed == 0 && !scenarios.isEmpty ? 0 : 1)
