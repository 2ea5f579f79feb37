// Deliveries keep what a dead letter and an anchor need, whatever an entry looks like: against a real Redis' replies.

import Simulation
import Testing

@testable import TrafficConsumer

@Suite("Deliveries") struct StreamDeliveryTests {
  private static func shuffled(_ fields: [String]) -> [String] { Array(fields[2...] + fields[..<2]) }

  @Test("an entry's names and values are what was received, to the byte and in order")
  func received() async throws {
    let directory = try TemporaryDirectory()
    let server = try await RedisServer.start(in: directory, extra: ["--appendonly", "no"])
    let bench = try StreamBench(server: server, database: 0)
    let plain = EventMaker().event(du: 5).encode()
    let counted = EventMaker().event(du: 5, gen: "g", cu: 5).encode()
    var zeros = plain
    zeros[13] = String(repeating: "0", count: 250) + "5"
    var long = plain
    long[13] = String(repeating: "0", count: 300) + "5"
    let cases: [[String]] = [
      plain, counted, Self.shuffled(counted), plain + ["more", "value"], zeros, long,
      plain + ["port\0", "1"], ["a", "b"], plain.map { $0 == "5" ? "x" : $0 }, plain + ["du", "5"],
      ["", ""], ["passkey", String(repeating: "k", count: 70_000)],
    ]
    for fields in cases { try bench.add(fields) }
    let delivery = try bench.delivery(0..<cases.count)
    #expect(delivery.entries.map(\.id) == bench.ids)
    for (index, fields) in cases.enumerated() {
      #expect(delivery.fields(at: index) == EntryFields(items: fields.map { Array($0.utf8) }), "\(index)")
    }
    let events = delivery.entries.map { entry in if case .event = entry.content { true } else { false } }
    #expect(events == [true, true, true, true, true, true, true, false, false, false, false, false])
    let forms = delivery.entries.prefix(7).map(\.form)
    #expect(forms == [.values, .values, .whole, .whole, .values, .whole, .whole])
    withExtendedLifetime(server) {}
  }
}
