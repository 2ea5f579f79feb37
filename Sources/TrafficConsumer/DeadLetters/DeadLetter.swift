// DeadLetter: an entry that cannot be applied, kept whole. A value; written by the writer, read by the `dlq` verbs.

/// What became of a dead letter.
enum DeadLetterState: String, Sendable, CaseIterable {
  case dead, replayed, discarded
}

struct DeadLetter: Sendable {
  var id: Int64
  var streamID: Int64
  var epoch: Int64
  var entryID: EntryID
  /// A stable word (`EntryFault.reason`) and a sentence.
  var reason: String
  var detail: String
  var state: DeadLetterState
  /// How often the entry was tried before it came here.
  var deliveries: Int64
  /// Unix seconds.
  var failedAt: Int64
  var resolvedAt: Int64?
  var fields: EntryFields
  /// JSON objects, one per line.
  var history: String
}
