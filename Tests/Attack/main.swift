// `make attack`: what strangers, liars and one hostile user do to a running tracker, one attack after the other, and what
// honest users notice of each; see Attack.

import Foundation
import Glibc
import Linux
import Simulation

func say(_ line: String) { FileHandle.standardOutput.write(Data((line + "\n").utf8)) }

/// Whether honest users noticed nothing, nil where the attack cannot be made; says what happened.
nonisolated func passes(_ scenario: AttackScenario, seconds: Double) async -> Bool? {
  do {
    let outcome = try await Attack(scenario, seconds: seconds).run()
    say(outcome.text(scenario.name))
    return outcome.isHarmless
  } catch let reason as NotRun {
    say("\(scenario.name)\n    NOT RUN: \(reason)")
    return nil
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
var results: [Bool] = []
for scenario in scenarios {
  if let passed = await passes(scenario, seconds: seconds) { results.append(passed) }
}
let passed = results.count { $0 }
let notRun = scenarios.count - results.count
say(
  "\(passed) of \(results.count) attacks: no honest user was refused, no byte lost\(notRun > 0 ? "; \(notRun) not run" : "")"
)
exit(passed == results.count && !scenarios.isEmpty ? 0 : 1)
