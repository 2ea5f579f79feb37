// OutputTable: rows of a verb's answer and the four ways to write them. Pure but for `write`; main thread of a verb.

import Glibc
import Linux

/// One value, with what it is: tables show units, machine formats show numbers.
enum OutputCell: Equatable, Sendable {
  case text(String)
  case integer(Int64)
  /// Bytes.
  case bytes(Int64)
  case seconds(Int64)
  /// Unix seconds; 0 is "never".
  case time(Int64)
  /// Bytes per second.
  case rate(Double)
  case real(Double)
  case flag(Bool)
  /// A passkey: redacted in a table on a terminal.
  case passkey(String)
  /// JSON as it is, for nested values.
  case json(String)
  case null
}

/// `-o`.
enum OutputFormat: String, CaseIterable, Sendable {
  case table, json, jsonl, csv
}

struct OutputTable: Equatable, Sendable {
  /// The JSON keys.
  var columns: [String]
  var rows: [[OutputCell]] = []

  init(_ columns: [String], rows: [[OutputCell]] = []) {
    self.columns = columns
    self.rows = rows
  }

  /// The text of a format. `isObject`: JSON shows the only row without an array around it.
  func text(_ format: OutputFormat, isObject: Bool = false, redacts: Bool = false, colours: Bool = false) -> String {
    switch format {
    case .table: return isObject && rows.count == 1 ? list(redacts: redacts) : table(redacts: redacts, colours: colours)
    case .json:
      if isObject, let row = rows.first { return object(row) + "\n" }
      return "[" + rows.map { "\n" + object($0) }.joined(separator: ",") + (rows.isEmpty ? "]\n" : "\n]\n")
    case .jsonl: return rows.map { object($0) + "\n" }.joined()
    case .csv:
      return ([columns] + rows.map { $0.map(Self.machine) }).map(Self.csvLine).joined()
    }
  }

  /// Writes rows as they come; of a table, whose widths they decide, the first ones together. Ends with `finish`.
  struct Stream {
    /// The rows that decide a table's widths; it takes a few megabytes, however many come.
    static let measuredRows = 1000

    private let format: OutputFormat
    private let redacts: Bool
    private let colours: Bool
    private let write: (String) -> Void
    private var table: OutputTable
    /// Of a table whose head is written.
    private var layout: Layout?
    private var count = 0
    /// Has rows: a verb that fails now ends what it has begun, so that a script can read it.
    var isBegun: Bool { count > 0 }

    init(
      _ columns: [String], _ format: OutputFormat, redacts: Bool = false, colours: Bool = false,
      write: @escaping (String) -> Void
    ) {
      self.format = format
      self.redacts = redacts
      self.colours = colours
      self.write = write
      table = OutputTable(columns)
    }

    mutating func add(_ row: [OutputCell]) {
      defer { count += 1 }
      switch format {
      case .table:
        table.rows.append(row)
        if layout != nil || table.rows.count == Self.measuredRows { writeTable() }
      case .json: write((count == 0 ? "[\n" : ",\n") + table.object(row))
      case .jsonl: write(table.object(row) + "\n")
      case .csv: write((count == 0 ? table.text(.csv) : "") + OutputTable.csvLine(row.map(OutputTable.machine)))
      }
    }

    /// Writes the rows that wait, and the head before the first ones.
    private mutating func writeTable() {
      let layout = layout ?? Layout(table, redacts: redacts)
      if self.layout == nil { write(layout.head(table.columns, colours: colours)) }
      self.layout = layout
      write(table.rows.map { layout.line($0) }.joined())
      table.rows.removeAll(keepingCapacity: true)
    }

    mutating func finish() {
      switch format {
      case .table: if layout == nil { writeTable() }
      case .json: write(count == 0 ? "[]\n" : "\n]\n")
      case .csv: if count == 0 { write(table.text(.csv)) }
      case .jsonl: break
      }
    }
  }

  /// How wide a table's columns are, and on which side their values are.
  private struct Layout {
    private let widths: [Int]
    private let rightAligned: [Bool]
    private let redacts: Bool

    init(_ table: OutputTable, redacts: Bool) {
      self.redacts = redacts
      var widths = table.columns.map(\.count)
      for row in table.rows {
        for (index, cell) in row.enumerated() {
          widths[index] = max(widths[index], OutputTable.human(cell, redacts: redacts).count)
        }
      }
      self.widths = widths
      rightAligned = table.columns.indices.map { index in table.rows.first.map { isNumber($0[index]) } ?? false }
    }

    func head(_ columns: [String], colours: Bool) -> String {
      let head = line(columns)
      return colours ? "\u{1b}[1m" + head.dropLast() + "\u{1b}[0m\n" : head
    }

    func line(_ row: [OutputCell]) -> String { line(row.map { OutputTable.human($0, redacts: redacts) }) }

    private func line(_ texts: [String]) -> String {
      let padded = texts.indices.map { index in
        let space = spaces(widths[index] - texts[index].count)
        return rightAligned[index] ? space + texts[index] : texts[index] + space
      }
      var text = padded.joined(separator: "  ")
      while text.hasSuffix(" ") { text.removeLast() }
      return text + "\n"
    }
  }

  private static func csvLine(_ texts: [String]) -> String { texts.map(csv).joined(separator: ",") + "\r\n" }

  private func object(_ row: [OutputCell]) -> String {
    "{" + zip(columns, row).map { "\(JSONText.quoted($0)):\(Self.json($1))" }.joined(separator: ",") + "}"
  }

  private func list(redacts: Bool) -> String {
    let width = columns.map(\.count).max() ?? 0
    return zip(columns, rows[0]).map { name, cell in
      "\(name)\(Self.spaces(width - name.count + 2))\(Self.human(cell, redacts: redacts))\n"
    }.joined()
  }

  private func table(redacts: Bool, colours: Bool) -> String {
    let layout = Layout(self, redacts: redacts)
    return layout.head(columns, colours: colours) + rows.map { layout.line($0) }.joined()
  }

  private static func spaces(_ count: Int) -> String { String(repeating: " ", count: max(0, count)) }

  private static func isNumber(_ cell: OutputCell) -> Bool {
    switch cell {
    case .integer, .bytes, .seconds, .rate, .real: true
    default: false
    }
  }

  // MARK: cells

  static func human(_ cell: OutputCell, redacts: Bool) -> String {
    switch cell {
    case .bytes(let value): sized(Double(value), exact: value)
    case .rate(let value): sized(value, exact: nil) + "/s"
    case .seconds(let value): duration(value)
    case .time(let value): value == 0 ? "-" : TimeText.iso(value)
    case .real(let value): number(value, digits: 3)
    case .flag(let value): value ? "yes" : "no"
    case .passkey(let value): redacts ? redacted(value) : value
    case .null: "-"
    case .text, .integer, .json: printable(machine(cell))
    }
  }

  /// Escape sequences of an entry's fields must not reach a terminal.
  private static func printable(_ text: String) -> String {
    String(String.UnicodeScalarView(text.unicodeScalars.map { $0.value < 0x20 || $0.value == 0x7f ? "?" : $0 }))
  }

  static func redacted(_ passkey: String) -> String { String(passkey.prefix(4)) + "..." }

  static func json(_ cell: OutputCell) -> String {
    switch cell {
    case .text(let value), .passkey(let value): JSONText.quoted(value)
    case .null: "null"
    default: machine(cell)
    }
  }

  static func machine(_ cell: OutputCell) -> String {
    switch cell {
    case .text(let value), .passkey(let value), .json(let value): value
    case .integer(let value), .bytes(let value), .seconds(let value), .time(let value): String(value)
    case .rate(let value), .real(let value): value.isFinite ? number(value, digits: 3) : "null"
    case .flag(let value): value ? "true" : "false"
    case .null: ""
    }
  }

  /// RFC 4180: quotes around what needs them.
  private static func csv(_ text: String) -> String {
    guard text.utf8.contains(where: { $0 == 0x2c || $0 == 0x22 || $0 == 0x0a || $0 == 0x0d }) else { return text }
    return "\"" + text.split(separator: "\"", omittingEmptySubsequences: false).joined(separator: "\"\"") + "\""
  }

  /// Fixed decimals without trailing zeros.
  static func number(_ value: Double, digits: Int) -> String {
    let scale = (0..<digits).reduce(1.0) { scale, _ in scale * 10 }
    let scaled = (value * scale).rounded()
    guard abs(scaled) < 9e15 else { return String(value) }
    let whole = Int64(scaled)
    let magnitude = whole.magnitude
    var fraction = String(magnitude % UInt64(scale) + UInt64(scale)).dropFirst()
    while fraction.hasSuffix("0") { fraction.removeLast() }
    return (whole < 0 ? "-" : "") + String(magnitude / UInt64(scale)) + (fraction.isEmpty ? "" : "." + fraction)
  }

  private static func sized(_ value: Double, exact: Int64?) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"]
    var value = value
    var unit = 0
    while value >= 1024, unit < units.count - 1 {
      value /= 1024
      unit += 1
    }
    if unit == 0, let exact { return "\(exact) B" }
    return number(value, digits: 2) + " " + units[unit]
  }

  static func duration(_ seconds: Int64) -> String {
    let parts = [(seconds / 86_400, "d"), (seconds / 3600 % 24, "h"), (seconds / 60 % 60, "m"), (seconds % 60, "s")]
    let shown = parts.drop { $0.0 == 0 }.prefix(2).filter { $0.0 != 0 }
    return shown.isEmpty ? "0s" : shown.map { "\($0.0)\($0.1)" }.joined(separator: " ")
  }
}
