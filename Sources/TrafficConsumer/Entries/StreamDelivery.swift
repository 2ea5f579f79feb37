// StreamDelivery: entries of one reply on their way from a reader thread to the writer thread, decoded. Made by the
// reader; from `submit` to `settled` the writer has it, then the reader again.

import Redis
import Wire

/// Reader and writer hand it to each other through DeliveryQueue, never use it at once: hence unchecked.
final class StreamDelivery: @unchecked Sendable {
  /// How the entries came.
  enum Source: Sendable {
    /// XREADGROUP with `>`: consecutive entries of the stream that the group was never given.
    case fresh
    /// XRANGE: consecutive entries of the stream.
    case consecutive
    /// Pending entries, read again or claimed: others may lie between them.
    case scattered
  }

  let streamIndex: Int
  let source: Source
  private(set) var entries: [StreamEntry] = []
  private(set) var faults: [EntryFault] = []
  /// What was received, for dead letters and anchors: see StreamEntry.Form.
  private var received: [UInt8] = []
  /// Entries of the reply that are dealt with and may be acknowledged: the writer's answer.
  var settled: [EntryID] = []

  /// No entries.
  init(streamIndex: Int, source: Source) {
    self.streamIndex = streamIndex
    self.source = source
  }

  /// Takes what it needs out of a list of entries, each [id, [name, value, ...]] or [id, nil] for a pending entry that
  /// was deleted.
  init(streamIndex: Int, source: Source, entries list: RedisReplyView) {
    self.streamIndex = streamIndex
    self.source = source
    entries.reserveCapacity(list.count)
    received.reserveCapacity(list.count * Self.usualBytes)
    for index in 0..<list.count {
      guard let id = list[index][0].bytes.flatMap({ EntryID($0) }) else { continue }
      add(id, list[index][1])
    }
  }

  /// The same of entries that did not come out of a connection: a model's. Without fields one was deleted.
  init(streamIndex: Int, source: Source, entries list: [(id: EntryID, fields: EntryFields?)]) {
    self.streamIndex = streamIndex
    self.source = source
    for (id, fields) in list {
      let offset = UInt32(clamping: received.count)
      var content = StreamEntry.Content.deleted
      if let fields {
        do throws(TrafficDecodeError) {
          content = .event(try TrafficEvent.decode(bytes: fields.items))
        } catch {
          content = .fault(Int32(faults.count))
          faults.append(.undecodable(error))
        }
        received += fields.stored
      }
      entries.append(StreamEntry(id: id, content: content, form: .whole, offset: offset))
    }
  }

  /// Values of an entry with counters, a byte for the length of each: 260 to 290.
  private static let usualBytes = 288

  private func add(_ id: EntryID, _ fields: RedisReplyView) {
    let offset = UInt32(clamping: received.count)
    guard fields.kind == .array else {
      entries.append(StreamEntry(id: id, content: .deleted, form: .values, offset: offset))
      return
    }
    do throws(EntryFault) {
      let decoded = try StreamEntry.decode(fields)
      let form: StreamEntry.Form = decoded.isInOrder ? .values : .whole
      keep(fields, form)
      entries.append(StreamEntry(id: id, content: .event(decoded.event), form: form, offset: offset))
    } catch {
      keep(fields, .whole)
      faults.append(error)
      let place = Int32(faults.count - 1)
      entries.append(StreamEntry(id: id, content: .fault(place), form: .whole, offset: offset))
    }
  }

  private func keep(_ fields: RedisReplyView, _ form: StreamEntry.Form) {
    switch form {
    case .whole: received += EntryFields(fields).stored
    case .values:
      for index in stride(from: 1, to: fields.count, by: 2) {
        let value = fields[index].bytes!
        received.append(UInt8(value.count))
        received.append(contentsOf: value)
      }
    }
  }

  var count: Int { entries.count }

  /// Roughly what it takes in memory.
  var byteCount: Int { entries.count * MemoryLayout<StreamEntry>.stride + received.count }

  /// The names and values of an entry as received; nil when it was deleted from the stream.
  func fields(at index: Int) -> EntryFields? {
    let entry = entries[index]
    if case .deleted = entry.content { return nil }
    let end = index + 1 < entries.count ? Int(entries[index + 1].offset) : received.count
    return received[Int(entry.offset)..<end].withUnsafeBytes { bytes in
      switch entry.form {
      case .whole: EntryFields(stored: bytes)
      case .values: Self.named(bytes)
      }
    }
  }

  /// Values behind their lengths, with the names in the order of the stream's fields.
  private static func named(_ bytes: UnsafeRawBufferPointer) -> EntryFields {
    var fields = EntryFields(items: [])
    var at = 0
    for field in TrafficField.streamOrder where at < bytes.count {
      let end = at + 1 + Int(bytes[at])
      fields.items.append(Array(field.name.utf8))
      fields.items.append(Array(bytes[(at + 1)..<end]))
      at = end
    }
    return fields
  }
}
