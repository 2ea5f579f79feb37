// What a stream entry may look like, and what is said about one that may not.

import Testing
import Wire

/// A legal entry with every field, as names and values in turn.
private let fullEntry = [
  "passkey", "0123456789abcdef0123456789abcdef", "infohash", "aa00000000000000000000000000000000000001",
  "peer_id", "2d5452333030302d00000000000000000000000b", "port", "51413", "ip", "192.0.2.7", "af", "IPv4",
  "du", "1000", "dd", "500", "left", "0", "event", "none", "ts", "1700000000", "dt", "1800", "interval", "1800",
  "min_interval", "900", "v", "1", "gen", "17", "cu", "3000", "cd", "500", "n", "2", "order", "112500000000000",
]

private func entry(replacing name: String, with value: String?) -> [String] {
  var result: [String] = []
  for index in stride(from: 0, to: fullEntry.count, by: 2) {
    if fullEntry[index] != name {
      result += fullEntry[index...index + 1]
    } else if let value {
      result += [name, value]
    }
  }
  return result
}

private func refusal(of fields: [String]) -> TrafficDecodeError? {
  do throws(TrafficDecodeError) {
    _ = try TrafficEvent.decode(fields)
    return nil
  } catch {
    return error
  }
}

@Suite("The traffic event") struct TrafficEventTests {
  @Test("the field names are those of docs/contract.md, in its order")
  func order() {
    #expect(
      TrafficField.streamOrder.map(\.name) == [
        "passkey", "infohash", "peer_id", "port", "ip", "af", "du", "dd", "left", "event", "ts", "dt", "interval",
        "min_interval", "v", "gen", "cu", "cd", "n", "order",
      ])
    #expect(TrafficField.required.last == .minInterval)
    #expect(TrafficField.allCases.map(\.position) == Array(0..<20))
  }

  @Test("an entry decodes to its values and encodes to itself")
  func roundTrip() throws {
    let event = try TrafficEvent.decode(fullEntry)
    #expect(event.uploadedDelta == 1000 && event.downloadedDelta == 500 && event.announces == 2)
    #expect(event.counters?.generation.text == "17" && event.counters?.creditedUpload == 3000)
    #expect(event.port == 51413 && event.address.description == "192.0.2.7" && event.timestamp == 1_700_000_000)
    #expect(event.order == 1_800_000_000 * 62_500)
    #expect(event.encode() == fullEntry)
  }

  @Test("a producer that sends the first fourteen fields is a legal one")
  func fourteen() throws {
    let event = try TrafficEvent.decode(Array(fullEntry.prefix(28)))
    #expect(event.counters == nil && event.announces == 1)
    #expect(event.encode() == Array(fullEntry.prefix(28)))
    // Found by the fuzzer: fourteen fields and `n`.
    let several = Array(fullEntry.prefix(28)) + ["n", "2", "order", "7"]
    #expect(try TrafficEvent.decode(several).encode() == several)
  }

  @Test("fields may come in any order and unknown ones are passed over")
  func anyOrder() throws {
    var pairs = stride(from: 0, to: fullEntry.count, by: 2).map { [fullEntry[$0], fullEntry[$0 + 1]] }
    pairs.reverse()
    pairs.insert(["a_field_of_tomorrow", "x"], at: 3)
    #expect(try TrafficEvent.decode(pairs.flatMap { $0 }) == TrafficEvent.decode(fullEntry))
  }

  @Test("each missing field is named", arguments: TrafficField.allCases)
  func missing(field: TrafficField) {
    let isOptional = [.version, .announces, .order].contains(field)
    let expected: TrafficDecodeError? = isOptional ? nil : .missing(field)
    #expect(refusal(of: entry(replacing: field.name, with: nil)) == expected)
  }

  @Test("each repeated field is named", arguments: TrafficField.allCases)
  func repeated(field: TrafficField) {
    let at = field.position * 2
    #expect(refusal(of: fullEntry + fullEntry[at...at + 1]) == .duplicate(field))
  }

  @Test("a name without a value is an odd entry")
  func odd() {
    #expect(refusal(of: fullEntry + ["left"]) == .oddFieldCount(41))
    #expect(refusal(of: []) == .missing(.passkey))
  }

  @Test(
    "a value that is not of its field's form is refused by name",
    arguments: [
      ("passkey", ""), ("passkey", "a b"), ("passkey", String(repeating: "k", count: 65)), ("infohash", "zz"),
      ("infohash", String(repeating: "g", count: 40)), ("peer_id", String(repeating: "0", count: 39)),
      ("port", "-1"), ("port", "65536"), ("port", "http"), ("ip", "300.1.2.3"), ("ip", "example.com"), ("ip", ""),
      ("af", "ipv4"), ("af", "IPv6"), ("du", "-1"), ("du", "1e3"), ("du", " 1"), ("du", ""), ("du", "0x10"),
      ("du", "9007199254740993"), ("dd", "18446744073709551616"), ("left", "18446744073709551616"),
      ("event", "paused"), ("event", ""), ("ts", "0"), ("ts", "1700000000000"), ("dt", "4294967296"),
      ("dt", "-"), ("dt", "--5"), ("dt", "-4294967296"), ("ts", "-5"),
      ("interval", "-1800"), ("min_interval", "1.5"), ("v", "2"), ("gen", ""), ("gen", "a b"),
      ("gen", String(repeating: "9", count: 33)), ("cu", "999"), ("cd", "499"), ("n", "0"), ("order", "x"),
      ("order", "281474976710656"),
    ])
  func malformed(name: String, value: String) throws {
    let refused = try #require(refusal(of: entry(replacing: name, with: value)))
    #expect(refused.description.contains("field \(name) "))
    if !value.isEmpty, name == "passkey" { #expect(!refused.description.contains(value)) }
  }

  @Test(
    "values at the edge of their range are taken",
    arguments: [
      ("passkey", String(repeating: "k", count: 64)), ("port", "0"), ("port", "65535"), ("cu", "9007199254740992"),
      ("left", "18446744073709551615"), ("ts", "4294967295"), ("ts", "1"), ("dt", "4294967295"), ("du", "0"),
      ("n", "4294967295"), ("gen", String(repeating: "9", count: 32)), ("ip", "0.0.0.0"), ("cu", "1000"),
      ("order", "0"), ("order", "281474976710655"),
    ])
  func edges(name: String, value: String) {
    #expect(refusal(of: entry(replacing: name, with: value)) == nil)
  }

  @Test("a dt below zero is no time, and is told from 0")
  func backward() throws {
    let event = try TrafficEvent.decode(entry(replacing: "dt", with: "-4294967295"))
    #expect(event.elapsedSeconds == 0 && event.backwardSeconds == .max)
    #expect(event.encode() == entry(replacing: "dt", with: "-4294967295"))
  }

  @Test("an IPv4 address in IPv6 form may be called either family")
  func mapped() throws {
    for family in ["IPv4", "IPv6"] {
      var fields = entry(replacing: "ip", with: "::ffff:192.0.2.7")
      fields[11] = family
      #expect(try TrafficEvent.decode(fields).address.family == .v4)
    }
  }

  @Test("bytes that are not text are refused, not repaired")
  func notText() {
    var fields = fullEntry.map { Array($0.utf8) }
    fields[1] = [0xff, 0xfe, 0x41]
    #expect(throws: TrafficDecodeError.malformed(.passkey, expected: "1 to 64 printable characters")) {
      try TrafficEvent.decode(bytes: fields)
    }
  }
}
