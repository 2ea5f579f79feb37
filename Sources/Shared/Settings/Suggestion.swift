// Suggestion: the nearest known word to a mistyped one, for settings, options and verbs. Pure.

/// "Did you mean".
public enum Suggestion {
  /// The known word with the fewest edits, when that is at most a third of its length (at least one edit is forgiven).
  public static func nearest(to word: String, among known: [String]) -> String? {
    var best: (word: String, distance: Int)?
    for candidate in known {
      let distance = edits(from: Array(word.lowercased().utf8), to: Array(candidate.lowercased().utf8))
      if distance <= max(1, candidate.utf8.count / 3), distance < best?.distance ?? .max {
        best = (candidate, distance)
      }
    }
    return best?.word
  }

  /// Optimal string alignment distance: insertions, deletions, replacements, and swaps of neighbours.
  static func edits(from left: [UInt8], to right: [UInt8]) -> Int {
    var rows = [Array(0...right.count)]
    for i in 1..<(left.count + 1) {
      var row = [i]
      for j in 1..<(right.count + 1) {
        var cost = min(rows[i - 1][j], row[j - 1]) + 1
        cost = min(cost, rows[i - 1][j - 1] + (left[i - 1] == right[j - 1] ? 0 : 1))
        if i > 1 && j > 1 && left[i - 1] == right[j - 2] && left[i - 2] == right[j - 1] {
          cost = min(cost, rows[i - 2][j - 2] + 1)
        }
        row.append(cost)
      }
      rows.append(row)
    }
    return rows[left.count][right.count]
  }
}
