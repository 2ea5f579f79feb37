// Ids of stream entries: text, order, storage.

import Testing

@testable import TrafficConsumer

@Suite("Entry ids") struct EntryIDTests {
  @Test(
    "an id reads and writes as Redis has it",
    arguments: ["0-1", "1700000000000-0", "18446744073709551615-18446744073709551615"])
  func roundTrip(text: String) throws {
    let id = try #require(EntryID(text))
    #expect(id.description == text)
    #expect(id.bytes.withUnsafeBytes { EntryID(stored: $0) } == id)
  }

  @Test("a text without sequence has sequence 0")
  func short() { #expect(EntryID("17") == EntryID(milliseconds: 17, sequence: 0)) }

  @Test(
    "what is no id is none",
    arguments: ["", "-", "1-", "-1", "1-2-3", "a-1", "1-a", "18446744073709551616-0", " 1-1", "$"])
  func refused(text: String) { #expect(EntryID(text) == nil) }

  @Test("stored bytes are in the order of ids")
  func order() {
    let ids = ["0-0", "0-1", "1-0", "1-18446744073709551615", "2-0", "256-1", "18446744073709551615-0"].map {
      EntryID($0)!
    }
    #expect(ids == ids.sorted())
    #expect(zip(ids, ids.dropFirst()).allSatisfy { $0.bytes.lexicographicallyPrecedes($1.bytes) })
    #expect(zip(ids, ids.dropFirst()).dropFirst().allSatisfy { $0 <= $1.predecessor && $1.predecessor < $1 })
  }
}
