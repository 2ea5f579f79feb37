// Fields of dead letters: nothing of what was received is lost.

import Testing

@testable import TrafficConsumer

@Suite("Dead letter fields") struct DeadLetterFieldsTests {
  @Test("they come back byte for byte, odd ones and empty ones too")
  func roundTrip() {
    for items in [[], [[]], [[1, 2], []], [Array("du".utf8), [0xff, 0], Array("du".utf8)]] as [[[UInt8]]] {
      let fields = EntryFields(items: items)
      #expect(fields.stored.withUnsafeBytes { EntryFields(stored: $0) } == fields)
    }
    #expect([1, 0, 0, 0].withUnsafeBytes { EntryFields(stored: $0) } == nil)
    #expect([UInt8](repeating: 255, count: 9).withUnsafeBytes { EntryFields(stored: $0) } == nil)
  }

  @Test("bytes that are not text, and backslashes, are shown as hex; text is shown as it is")
  func shown() {
    func text(_ bytes: [UInt8]) -> String { EntryFields.text(bytes) }
    #expect(text(Array("na\u{ef}ve \u{1F600}".utf8)) == "na\u{ef}ve \u{1F600}")
    #expect(text([0x61, 0xff, 0xc3, 0xa9, 0xc3]) == "a\\xff\u{e9}\\xc3")
    #expect(text(Array("a\\xff".utf8)) == "a\\x5cxff")
    #expect(text([]) == "")
  }

  @Test("repeated names are told apart, and a name without value has none")
  func names() {
    let fields = EntryFields(items: ["du", "1", "du", "2", "left"].map { Array($0.utf8) })
    #expect(fields.shown.map(\.name) == ["du", "du#2", "left"])
    #expect(fields.shown.map(\.value) == ["1", "2", nil])
  }

  @Test("setting a field replaces it, removes its repetitions, or adds it")
  func set() {
    var fields = EntryFields(items: ["du", "1", "dd", "3", "du", "2", "left"].map { Array($0.utf8) })
    fields.set("du", to: "9")
    fields.set("left", to: "0")
    fields.set("event", to: "none")
    #expect(
      fields.items.map { String(decoding: $0, as: UTF8.self) } == ["du", "9", "dd", "3", "left", "0", "event", "none"])
  }
}
