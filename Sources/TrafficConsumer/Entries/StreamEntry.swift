// StreamEntry: one delivered entry, decoded. Made by a reader thread, so that the writer thread, which everything waits
// for, need not. A value without references: an array of them is one piece of memory.

import Redis
import Wire

struct StreamEntry: Sendable {
  enum Content: Sendable {
    case event(TrafficEvent)
    /// What is wrong with it, as a place in its delivery's `faults`.
    case fault(Int32)
    /// Pending, but deleted from the stream.
    case deleted
  }

  /// How the names and values lie in the delivery's `received`.
  enum Form: UInt8, Sendable {
    /// The values alone, each behind its length in one byte: the names are the stream's first ones, in its order (docs/contract.md, section 4).
    case values
    /// Names and values, each behind its length in four bytes (EntryFields).
    case whole
  }

  let id: EntryID
  let content: Content
  let form: Form
  /// Where in `received` it begins.
  let offset: UInt32

  /// When it was announced, by its tracker (Unix seconds); nil when it cannot be read.
  var announced: Int64? { if case .event(let event) = content { event.timestamp } else { nil } }

  /// The event of an entry's names and values, and whether they are the stream's in its order.
  static func decode(_ fields: RedisReplyView) throws(EntryFault) -> (event: TrafficEvent, isInOrder: Bool) {
    do throws(TrafficDecodeError) {
      guard fields.count.isMultiple(of: 2) else { throw .oddFieldCount(fields.count) }
      var decoder = TrafficEventDecoder()
      var isShort = true
      for index in stride(from: 0, to: fields.count, by: 2) {
        guard let name = fields[index].bytes, let value = fields[index + 1].bytes else {
          isShort = false
          continue
        }
        isShort = isShort && value.count <= Int(UInt8.max)
        try decoder.take(name: name, value: value)
      }
      let isInOrder = decoder.isInOrder && isShort
      return (try decoder.finish(), isInOrder)
    } catch {
      throw .undecodable(error)
    }
  }
}
