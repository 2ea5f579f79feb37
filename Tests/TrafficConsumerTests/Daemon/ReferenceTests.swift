// docs/configuration.md has the consumer's settings as the program declares them.

import Simulation
import Testing

@testable import TrafficConsumer

@Test("the reference has every setting of the consumer with its default and what it means")
func consumerReference() throws {
  let tables = SettingsReference.tables("consumer", ConsumerConfig.reference, showsReload: false)
  #expect(
    try SettingsReference.differences(in: Repository.path("docs/configuration.md"), prefix: "consumer", tables) == [])
}
