// StreamDelivery: entries of one reply on their way from a reader thread to the writer thread, still in the reply's own
// memory. Made by the reader; from `submit` to `settled` the writer has it, then the reader again.

import Shared

/// Reader and writer hand it to each other through DeliveryQueue, never use it at once: hence unchecked.
final class StreamDelivery: @unchecked Sendable {
  /// How the entries came.
  enum Source: Sendable {
    /// XREADGROUP with `>`, or XRANGE: consecutive entries of the stream.
    case consecutive
    /// Pending entries, read again or claimed: others may lie between them.
    case scattered
  }

  let streamIndex: Int
  let source: Source
  private var reply: RedisReply
  /// Where in the reply the list of entries is.
  private let path: [Int]
  /// Entries of the reply that are dealt with and may be acknowledged: the writer's answer.
  var settled: [EntryID] = []

  init(streamIndex: Int, source: Source, reply: consuming RedisReply, path: [Int]) {
    self.streamIndex = streamIndex
    self.source = source
    self.reply = reply
    self.path = path
  }

  /// The list of entries: each [id, [name, value, ...]] or [id, nil] for a pending entry that was deleted.
  var entries: RedisReplyView { path.reduce(reply.view) { $0[$1] } }
  var count: Int { entries.count }

  /// The id of an entry, or nil when the reply is not one.
  func id(at index: Int) -> EntryID? { entries[index][0].bytes.flatMap { EntryID($0) } }

  /// The names and values of an entry, or nil when it was deleted from the stream.
  func fields(at index: Int) -> RedisReplyView? {
    let fields = entries[index][1]
    return fields.kind == .array ? fields : nil
  }
}
