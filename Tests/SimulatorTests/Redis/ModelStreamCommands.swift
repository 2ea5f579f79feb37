// Commands of the model of Redis for streams: entries, ranges, what a stream says of itself.

extension RedisModel {
  func stream(_ key: [UInt8]) throws -> ModelStream? {
    guard let slot = data.slot(key, now: now) else { return nil }
    guard case .stream(let stream) = slot.value else { throw ModelError.wrongType }
    return stream
  }

  static func noGroup(_ key: [UInt8], _ group: [UInt8], _ command: String) -> ModelError {
    let (key, group) = (String(decoding: key, as: UTF8.self), String(decoding: group, as: UTF8.self))
    return ModelError(text: "NOGROUP No such key '\(key)' or consumer group '\(group)'\(command)")
  }

  func performStream(_ name: String, _ arguments: Arguments) throws -> RESP {
    switch name {
    case "XADD":
      let key = arguments[1]
      if try stream(key) == nil { data.set(key, .stream(ModelStream()), expires: nil) }
      let fields = Array(arguments.list[3...])
      let text = try arguments.text(2)
      let moment = now
      let last = try stream(key)!.lastID
      var given: StreamID?
      if text != "*" {
        guard let id = StreamID(arguments[2]) else {
          throw ModelError(text: "ERR Invalid stream ID specified as stream command argument")
        }
        guard id > last else {
          throw ModelError(
            text: "ERR The ID specified in XADD is equal or smaller than the target stream top item")
        }
        given = id
      }
      let id = given ?? (moment > last.milliseconds ? StreamID(milliseconds: moment) : last.next)
      let serial = onAdd(key, id, fields)
      _ = data.withStream(key) { $0.append(id, fields, serial: serial) }
      return .text(id.description)
    case "XLEN": return .integer(Int64(try stream(arguments[1])?.entries.count ?? 0))
    case "XRANGE", "XREVRANGE": return try range(arguments, isReverse: name == "XREVRANGE")
    case "XDEL":
      guard try stream(arguments[1]) != nil else { return .integer(0) }
      let ids = arguments.list[2...].compactMap { StreamID($0) }
      return .integer(data.withStream(arguments[1]) { $0.delete(ids) }!)
    case "XTRIM":
      guard try stream(arguments[1]) != nil else { return .integer(0) }
      guard try arguments.text(2).uppercased() == "MINID" else { throw ModelError.syntax }
      let isTilde = try ["~", "="].contains(arguments.text(3))
      guard let id = StreamID(arguments[isTilde ? 4 : 3]) else { throw ModelError.syntax }
      return .integer(data.withStream(arguments[1]) { $0.trim(below: id) }!)
    case "XINFO": return try info(arguments)
    default: return try performGroup(name, arguments)
    }
  }

  static func reply(_ entry: ModelStream.Entry) -> RESP {
    .array([.text(entry.id.description), .array(entry.fields.map { .bulk($0) })])
  }

  private func range(_ arguments: Arguments, isReverse: Bool) throws -> RESP {
    func bound(_ bytes: [UInt8], isStart: Bool) throws -> StreamID? {
      if bytes == Array("-".utf8) { return .zero }
      if bytes == Array("+".utf8) { return .maximum }
      let isOpen = bytes.first == UInt8(ascii: "(")
      guard let id = StreamID(isOpen ? Array(bytes.dropFirst()) : bytes, missing: isStart ? 0 : .max) else {
        throw ModelError(text: "ERR Invalid stream ID specified as stream command argument")
      }
      guard isOpen else { return id }
      return isStart ? (id == .maximum ? nil : id.next) : id.previous
    }
    guard let first = try bound(arguments[isReverse ? 3 : 2], isStart: true),
      let last = try bound(arguments[isReverse ? 2 : 3], isStart: false)
    else { throw ModelError(text: "ERR invalid start ID for the interval") }
    guard let stream = try stream(arguments[1]) else { return .array([]) }
    let count = try arguments.value(of: "COUNT", from: 4).map { try arguments.integer($0) } ?? .max
    let start = stream.place(of: first)
    var found = stream.entries[start...].prefix { $0.id <= last }
    if first > last { found = [] }
    if isReverse { return .array(found.suffix(count).reversed().map(Self.reply)) }
    return .array(found.prefix(count).map(Self.reply))
  }

  private func info(_ arguments: Arguments) throws -> RESP {
    guard let stream = try stream(arguments[2]) else { throw ModelError(text: "ERR no such key") }
    func pair(_ name: String, _ value: RESP) -> [RESP] { [.text(name), value] }
    switch try arguments.text(1).uppercased() {
    case "STREAM":
      let first = stream.entries.first.map(Self.reply) ?? .null
      let last = stream.entries.last.map(Self.reply) ?? .null
      return .array(
        pair("length", .integer(Int64(stream.entries.count)))
          + pair("radix-tree-keys", .integer(1)) + pair("radix-tree-nodes", .integer(2))
          + pair("last-generated-id", .text(stream.lastID.description))
          + pair("max-deleted-entry-id", .text(stream.maximumDeleted.description))
          + pair("entries-added", .integer(stream.added))
          + pair("recorded-first-entry-id", .text(stream.firstID.description))
          + pair("groups", .integer(Int64(stream.groups.count))) + pair("first-entry", first)
          + pair("last-entry", last))
    case "GROUPS":
      let groups = stream.groups.sorted { $0.key.lexicographicallyPrecedes($1.key) }
      return .array(
        groups.map { name, group in
          .array(
            pair("name", .bulk(name)) + pair("consumers", .integer(Int64(group.consumers.count)))
              + pair("pending", .integer(Int64(group.pending.count)))
              + pair("last-delivered-id", .text(group.last.description))
              + pair("entries-read", group.read.map { .integer($0) } ?? .null)
              + pair("lag", stream.lag(of: group).map { .integer($0) } ?? .null))
        })
    default: throw ModelError.syntax
    }
  }
}
