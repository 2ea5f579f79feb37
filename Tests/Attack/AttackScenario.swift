// AttackScenario: one attack as a row of a table: what it is called, the site that it happens to, and what the
// attacker does.

import Simulation

/// An attack on a site with honest users.
struct AttackScenario: Sendable {
  let name: String
  /// Connections that the tracker has descriptors for.
  var connections = 4096
  /// Whether who is not in the set is asked about at an origin that takes its time.
  var hasSlowOrigin = false
  /// What must be before honest users come.
  var prepare: @Sendable (Attack) async throws -> Void = { _ in }
  /// Does it for the seconds that the attack has; says what came of it for the attacker.
  let act: @Sendable (Attack) async throws -> String

  static let table: [AttackScenario] =
    udpAttacks + httpAttacks + approvalAttacks + userAttacks
}

/// Why an attack cannot be made on this machine.
struct NotRun: Error, CustomStringConvertible {
  let description: String
}
