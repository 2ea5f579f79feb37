import Foundation
import Testing
import Wire

@testable import Tracker

/// The Lua files say what Swift says, and the same twice where they must.
@Suite("the scripts' text") struct PushScriptTextTests {
  private static let scripts = [PushScript.text, PushScript.restoreText]

  @Test(
    "a constant of the scripts is the one that Swift has",
    arguments: [
      ("MAXIMUM_BYTES", PushScript.maximumBytes), ("MAXIMUM_TIMESTAMP", PushRecords.maximumTimestamp),
      ("ORDER_TICKS_PER_SECOND", 1_000_000 / PushScript.orderTickMicroseconds),
      ("STATE_SECONDS", UInt64(PushScript.stateSeconds)),
    ])
  func constant(name: String, value: UInt64) {
    #expect(PushScript.constant(name) == String(value))
  }

  @Test("the version is the event's, in quotes")
  func version() {
    #expect(PushScript.constant("VERSION") == "'\(TrafficEvent.version)'")
  }

  /// The variable that holds a field's value in the scripts.
  private static func variable(_ field: TrafficField) -> String {
    switch field {
    case .peerID: "peer"
    case .timestamp: "t"
    case .minInterval: "wait"
    case .version: "VERSION"
    case .order: "came"
    default: field.name
    }
  }

  @Test("both scripts add an entry with the fields of TrafficField, in their order", arguments: scripts)
  func fields(text: String) throws {
    let call = try #require(text.range(of: "pcall('XADD', stream, '*', "))
    let rest = text[call.upperBound...]
    let arguments = rest[..<(try #require(rest.firstIndex(of: ")")))]
      .split(whereSeparator: { $0 == "," || $0.isWhitespace }).map(String.init)
    #expect(arguments == TrafficField.streamOrder.flatMap { ["'\($0.name)'", Self.variable($0)] })
  }

  @Test("what both scripts do with a record is the same in both")
  func sameInBoth() {
    let blocks = Self.scripts.map { text in
      text.split(separator: "-- same in both").dropFirst().map { block in
        block.split(separator: "-- end same")[0]
          .split(separator: "\n").map { $0.drop { $0 == " " } }.joined(separator: "\n")
      }
    }
    #expect(blocks[0].count == 2)
    #expect(blocks[0] == blocks[1])
  }
}

extension PushScript {
  /// The value of `local NAME = value` in push.lua or common.lua, as it is written there.
  static func constant(_ name: String) -> String? {
    let beginning = "local \(name) = "
    return text.split(separator: "\n").first { $0.hasPrefix(beginning) }.map { String($0.dropFirst(beginning.count)) }
  }
}
