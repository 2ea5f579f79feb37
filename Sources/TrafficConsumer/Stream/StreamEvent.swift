// Decoding a delivered entry in place. Called by the writer thread.

import Shared

extension StreamDelivery {
  /// The event of an entry's names and values.
  static func event(of fields: RedisReplyView) throws(EntryFault) -> TrafficEvent {
    do throws(TrafficDecodeError) {
      guard fields.count.isMultiple(of: 2) else { throw .oddFieldCount(fields.count) }
      var decoder = TrafficEventDecoder()
      for index in stride(from: 0, to: fields.count, by: 2) {
        guard let name = fields[index].bytes, let value = fields[index + 1].bytes else { continue }
        try decoder.take(name: name, value: value)
      }
      return try decoder.finish()
    } catch {
      throw .undecodable(error)
    }
  }
}
