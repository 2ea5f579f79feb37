// Entries no consumer can apply, among entries it must: each becomes a dead letter with its reason, no neighbour is lost.

import Simulation
import Testing

@Suite("Poison entries")
struct PoisonTests {
  private static let passkey = "00112233445566778899aabbccddeeff"

  private static func entry(session: Int, uploaded: UInt64) -> [(name: String, value: String)] {
    StreamEntry.legal(passkey: passkey, session: session, uploaded: uploaded)
  }

  /// Values that cannot be, field by field.
  private static let wrongValues: [(field: String, value: String)] = [
    ("passkey", ""), ("passkey", String(repeating: "k", count: 65)), ("infohash", "c0ffee"),
    ("infohash", String(repeating: "zz", count: 20)), ("peer_id", ""), ("port", "65536"), ("port", "-1"),
    ("ip", "300.1.1.1"), ("af", "IPv5"), ("du", "-5"), ("du", "1GiB"), ("du", "99999999999999999999999"), ("dd", ""),
    ("dd", "1e9"), ("left", "0x10"), ("event", "paused"), ("ts", "yesterday"), ("ts", ""), ("dt", "1.5"),
    ("interval", "half an hour"), ("min_interval", "nil"),
  ]

  @Test("every kind is a dead letter with the field in its detail, and all neighbours are applied")
  func kinds() async throws {
    let site = try Site()
    try await site.redis.start()
    var poison: [String: String] = [:]
    var expected: UInt64 = 0
    var neighbours = 0
    let names = Self.entry(session: 0, uploaded: 0).map(\.name)

    func add(_ fields: [(name: String, value: String)]) throws -> String {
      try site.addToStream(fields)
    }
    func addNeighbour() throws {
      neighbours += 1
      let uploaded = UInt64(neighbours) << 20
      _ = try add(Self.entry(session: neighbours, uploaded: uploaded))
      expected += uploaded
    }
    for (field, value) in Self.wrongValues {
      try addNeighbour()
      let fields = Self.entry(session: 1000, uploaded: 1).map { $0.name == field ? (field, value) : $0 }
      poison[try add(fields)] = field
    }
    for name in names {
      try addNeighbour()
      poison[try add(Self.entry(session: 1001, uploaded: 1).filter { $0.name != name })] = name
    }
    poison[try add(Self.entry(session: 1002, uploaded: 1) + [("du", "7")])] = "du"
    poison[try add([("hello", "world")])] = "passkey"
    try addNeighbour()

    try await site.startConsumer()
    let letters = try await eventually("all poison entries are dead letters", evidence: site.logs) {
      let letters = try await site.json([DeadLetterReport].self, ["dlq", "list", "--limit", "1000"])
      return letters.count >= poison.count ? letters : nil
    }
    #expect(Set(letters.map(\.entryID)) == Set(poison.keys))
    for letter in letters {
      let field = try #require(poison[letter.entryID])
      #expect(letter.detail.contains(field), "\(letter.reason): \(letter.detail)")
      #expect(letter.state == "dead" && !letter.reason.isEmpty)
    }
    let report = try await site.json(UserReport.self, ["query", "user", Self.passkey])
    #expect(report.uploaded == expected)
    #expect(report.events == neighbours)
  }

  @Test("a dead letter repaired and replayed is credited once; a second replay changes nothing and says so")
  func replay() async throws {
    let site = try Site()
    try await site.redis.start()
    let fields = Self.entry(session: 1, uploaded: 1).map { $0.name == "du" ? ("du", "1GiB") : $0 }
    let id = try site.addToStream(fields)
    try await site.startConsumer()
    let letter = try await eventually("the entry is a dead letter", evidence: site.logs) {
      try await site.json([DeadLetterReport].self, ["dlq", "list"]).first { $0.entryID == id }
    }
    #expect(letter.fields["du"] == "1GiB")
    // Replayed as it is it fails again, for the same reason.
    let unchanged = try await site.consumer(["dlq", "replay", "\(letter.id)"])
    #expect(unchanged.exit != .code(0))
    let dry = try await site.consumer(["dlq", "replay", "\(letter.id)", "--set", "du=1073741824", "--dry-run"])
    #expect(dry.exit == .code(0), "\(dry.errors)")
    let before = try await site.consumer(["query", "user", Self.passkey, "-o", "json"])
    #expect(!before.output.contains("1073741824"))
    let replayed = try await site.consumer(["dlq", "replay", "\(letter.id)", "--set", "du=1073741824"])
    #expect(replayed.exit == .code(0), "\(replayed.errors)")
    _ = try await site.consumer(["dlq", "replay", "\(letter.id)", "--set", "du=1073741824"])
    let report = try await site.json(UserReport.self, ["query", "user", Self.passkey])
    #expect(report.uploaded == 1 << 30)
    #expect(report.events == 1)
    let after = try await site.json([DeadLetterReport].self, ["dlq", "list", "--state", "replayed"])
    #expect(after.map(\.id) == [letter.id])
    #expect(after.map { $0.fields["du"] } == ["1GiB"], "as received, also after the repair")
  }
}
