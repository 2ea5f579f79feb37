// docs/configuration.md has the tracker's settings as the program declares them.

import Simulation
import Testing

@testable import Tracker

@Suite(.serialized) struct ReferenceTests {
  @Test("the reference has every setting with its default, what a reload does, and what it means")
  func tracker() throws {
    let tables = SettingsReference.tables("tracker", TrackerConfig.reference, showsReload: true)
    #expect(
      try SettingsReference.differences(in: Repository.path("docs/configuration.md"), prefix: "tracker", tables) == [])
  }

  @Test("the reference has every hook with its options")
  func hooks() throws {
    var tables: [String: String] = [:]
    for kind in HookRegistry.kinds {
      tables.merge(SettingsReference.tables("hook \(kind.name)", kind.reference, showsReload: true)) { $1 }
    }
    #expect(
      try SettingsReference.differences(in: Repository.path("docs/configuration.md"), prefix: "hook", tables) == [])
  }
}
