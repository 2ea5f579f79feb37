// Screen: the demo's lines on standard output. One task.

import Glibc
import Linux

/// Titles, lines, a table and a progress line that overwrites itself on a terminal.
struct Screen {
  private let isTerminal = isatty(STDOUT_FILENO) == 1
  private static let columns = [10, 15, 15, 15, 15, 10, 10, 8]

  func title(_ text: String) { emit("\n== \(text)\n") }
  func line(_ text: String) { emit(isTerminal ? "\u{1b}[2K\(text)\n" : "\(text)\n") }
  func progress(_ text: String) { emit(isTerminal ? "\u{1b}[2K\(text)\r" : "\(text)\n") }
  func endProgress() { if isTerminal { emit("\n") } }

  /// Straight to the descriptor: nothing is held back when standard output is a pipe.
  private func emit(_ text: String) {
    var text = text
    text.withUTF8 { bytes in _ = retryingInterrupts { write(STDOUT_FILENO, bytes.baseAddress, bytes.count) } }
  }

  /// Cells, right-aligned but for the first and last.
  func row(_ cells: [String]) {
    var text = ""
    for (index, cell) in cells.enumerated() {
      let space = String(repeating: " ", count: max(0, Self.columns[index] - cell.count))
      text += index == 0 ? cell + space : index == cells.count - 1 ? "  " + cell : space + cell
    }
    line(text)
  }

  /// Bytes in binary units, for people.
  static func size(_ bytes: UInt64) -> String {
    var value = Double(bytes)
    var units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB"][...]
    while value >= 1024 && units.count > 1 {
      value /= 1024
      units = units.dropFirst()
    }
    return "\((value * 10).rounded() / 10) \(units.first!)"
  }
}
