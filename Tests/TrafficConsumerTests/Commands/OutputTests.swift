// What verbs print, and the times they read.

import Testing

@testable import TrafficConsumer

@Suite("Output") struct OutputTests {
  private let table = OutputTable(
    ["passkey", "uploaded", "note"], rows: [[.passkey("0123456789"), .bytes(1536), .text("a,\"b\"\n\u{1b}[31m")]])

  @Test("each format is what its name says")
  func formats() {
    #expect(
      table.text(.json)
        == "[\n{\"passkey\":\"0123456789\",\"uploaded\":1536,\"note\":\"a,\\\"b\\\"\\n\\u001b[31m\"}\n]\n")
    #expect(table.text(.json, isObject: true).hasPrefix("{\"passkey\""))
    #expect(table.text(.jsonl).hasPrefix("{\"passkey\""))
    #expect(table.text(.csv) == "passkey,uploaded,note\r\n0123456789,1536,\"a,\"\"b\"\"\n\u{1b}[31m\"\r\n")
    #expect(table.text(.table) == "passkey     uploaded  note\n0123456789   1.5 KiB  a,\"b\"??[31m\n")
    #expect(OutputTable(["a"]).text(.json) == "[]\n")
  }

  @Test("rows written as they come are the same text", arguments: OutputFormat.allCases, [0, 1, 3])
  func streamed(format: OutputFormat, rows: Int) {
    var text = ""
    var stream = OutputTable.Stream(table.columns, format) { text += $0 }
    for _ in 0..<rows { stream.add(table.rows[0]) }
    stream.finish()
    let whole = OutputTable(table.columns, rows: .init(repeating: table.rows[0], count: rows))
    #expect(text == whole.text(format))
  }

  @Test("of a long table no more rows wait than decide its widths, on a terminal as elsewhere")
  func longTable() {
    var parts: [String] = []
    var stream = OutputTable.Stream(table.columns, .table, redacts: true, colours: true) { parts.append($0) }
    let measured = OutputTable.Stream.measuredRows
    for row in 1...measured + 500 {
      stream.add(table.rows[0])
      #expect(parts.count == (row < measured ? 0 : 2 + row - measured))
    }
    stream.add([.passkey("0123456789"), .bytes(1536), .text("longer than the others, and last")])
    stream.finish()
    let rows = [[OutputCell]](repeating: table.rows[0], count: measured + 500)
    let whole = OutputTable(table.columns, rows: rows).text(.table, redacts: true, colours: true)
    #expect(parts.dropLast().joined() == whole && parts.last == "0123...   1.5 KiB  longer than the others, and last\n")
  }

  @Test("passkeys are shortened only where a table is on a terminal")
  func redaction() {
    #expect(!table.text(.table, redacts: true).contains("0123456789"))
    #expect(table.text(.table, redacts: true).contains("0123..."))
    #expect(table.text(.json, redacts: true).contains("0123456789"))
  }

  @Test("units are for people")
  func units() {
    func shown(_ cell: OutputCell) -> String { OutputTable.human(cell, redacts: false) }
    #expect(shown(.bytes(1023)) == "1023 B" && shown(.bytes(1024)) == "1 KiB" && shown(.bytes(.max)) == "8 EiB")
    #expect(shown(.seconds(0)) == "0s" && shown(.seconds(90_061)) == "1d 1h" && shown(.seconds(59)) == "59s")
    #expect(shown(.time(0)) == "-" && shown(.time(1_700_000_000)) == "2023-11-14T22:13:20Z")
    #expect(OutputTable.machine(.real(1.0 / 3)) == "0.333" && OutputTable.machine(.real(-2)) == "-2")
  }

  @Test(
    "times are read as people write them",
    arguments: [
      ("1700000000", 1_700_000_000), ("now", 1_795_000_000), ("2h", 1_794_992_800), ("7d", 1_794_395_200),
      ("today", 1_794_960_000), ("yesterday", 1_794_873_600), ("2023-11-14", 1_699_920_000),
      ("2023-11-14T22:13:20Z", 1_700_000_000), ("2023-11-14T22:13", 1_699_999_980),
      ("2023-11-15T00:13:20+02:00", 1_700_000_000), ("2023-11-14T17:13:20-0500", 1_700_000_000),
    ] as [(String, Int64)])
  func times(text: String, seconds: Int64) { #expect(TimeText.parse(text, now: 1_795_000_000) == seconds) }

  @Test(
    "what is no time is none",
    arguments: ["", "2023-02-30", "2023-13-01", "2023-11-14T25:00", "tomorrowish", "2023-11-14T22:13:20+", "-5", "2 h"])
  func noTimes(text: String) { #expect(TimeText.parse(text, now: 1_795_000_000) == nil) }
}
