// Commands of the model of Redis for consumer groups.

extension RedisModel {
  func performGroup(_ name: String, _ arguments: Arguments) throws -> RESP {
    switch name {
    case "XGROUP": return try manageGroup(arguments)
    case "XREADGROUP": return try readGroup(arguments)
    case "XACK":
      guard try stream(arguments[1]) != nil else { return .integer(0) }
      let ids = arguments.list[3...].compactMap { StreamID($0) }
      return .integer(data.withStream(arguments[1]) { $0.acknowledge(arguments[2], ids) }!)
    case "XPENDING":
      guard let group = try stream(arguments[1])?.groups[arguments[2]] else {
        throw Self.noGroup(arguments[1], arguments[2], "")
      }
      if arguments.count > 3 { return try pendingList(group, arguments) }
      guard let first = group.pending.first, let last = group.pending.last else {
        return .array([.integer(0), .null, .null, .nullArray])
      }
      let names = Set(group.pending.map(\.consumer)).sorted { $0.lexicographicallyPrecedes($1) }
      return .array([
        .integer(Int64(group.pending.count)), .text(first.id.description), .text(last.id.description),
        .array(names.map { name in .array([.bulk(name), .text("\(group.pending.count { $0.consumer == name })")]) }),
      ])
    case "XAUTOCLAIM":
      guard let stream = try stream(arguments[1]), stream.groups[arguments[2]] != nil else {
        throw Self.noGroup(arguments[1], arguments[2], "")
      }
      let count = try arguments.value(of: "COUNT", from: 6).map { try arguments.integer($0) } ?? 100
      guard let start = StreamID(arguments[5]) else { throw ModelError.syntax }
      let idle = UInt64(max(0, try arguments.integer(4)))
      let moment = now
      let result = data.withStream(arguments[1]) {
        $0.claim(arguments[2], arguments[3], idle: idle, from: start, count: count, now: moment)
      }!
      return .array([
        .text(result.next.description), .array(result.entries.map(Self.reply)),
        .array(result.deleted.map { .text($0.description) }),
      ])
    default: throw ModelError(text: "ERR unknown command '\(name)'")
    }
  }

  private func pendingList(_ group: ModelStream.Group, _ arguments: Arguments) throws -> RESP {
    let first = arguments[3] == Array("-".utf8) ? StreamID.zero : StreamID(arguments[3]) ?? .zero
    let last = arguments[4] == Array("+".utf8) ? StreamID.maximum : StreamID(arguments[4], missing: .max) ?? .maximum
    let count = try arguments.integer(5)
    let moment = now
    return .array(
      group.pending.filter { $0.id >= first && $0.id <= last }.prefix(count).map { pending in
        .array([
          .text(pending.id.description), .bulk(pending.consumer),
          .integer(Int64(moment) - Int64(pending.deliveredAt)), .integer(pending.count),
        ])
      })
  }

  private func manageGroup(_ arguments: Arguments) throws -> RESP {
    let (key, group) = (arguments[2], arguments[3])
    let verb = try arguments.text(1).uppercased()
    var found = try stream(key)
    if verb == "CREATE" {
      if found == nil {
        guard arguments.value(of: "MKSTREAM", from: 5) != nil else {
          throw ModelError(
            text: "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
              + "MKSTREAM option to create an empty stream automatically.")
        }
        data.set(key, .stream(ModelStream()), expires: nil)
        found = ModelStream()
      }
      if found!.groups[group] != nil { throw ModelError(text: "BUSYGROUP Consumer Group name already exists") }
    }
    guard let found else {
      throw ModelError(
        text: "ERR The XGROUP subcommand requires the key to exist. Note that for CREATE you may want to use the "
          + "MKSTREAM option to create an empty stream automatically.")
    }
    switch verb {
    case "CREATE", "SETID":
      let id = arguments[4] == Array("$".utf8) ? found.lastID : StreamID(arguments[4])
      guard let id else { throw ModelError.syntax }
      if verb == "SETID", found.groups[group] == nil {
        throw ModelError(
          text: "NOGROUP No such consumer group '\(String(decoding: group, as: UTF8.self))' for key name "
            + "'\(String(decoding: key, as: UTF8.self))'")
      }
      let read = try arguments.value(of: "ENTRIESREAD", from: 5).map { Int64(try arguments.integer($0)) }
      _ = data.withStream(key) { stream in
        if verb == "CREATE" {
          stream.groups[group] = ModelStream.Group(last: id, read: read)
        } else {
          stream.groups[group]!.last = id
          stream.groups[group]!.read = read
        }
      }
      return .ok
    case "DESTROY":
      return .integer(data.withStream(key) { $0.groups.removeValue(forKey: group) != nil ? 1 : 0 }!)
    case "DELCONSUMER":
      let consumer = arguments[4]
      let count = data.withStream(key) { stream -> Int64 in
        guard var found = stream.groups[group] else { return 0 }
        let before = found.pending.count
        found.pending.removeAll { $0.consumer == consumer }
        found.consumers.remove(consumer)
        stream.groups[group] = found
        return Int64(before - found.pending.count)
      }
      return .integer(count!)
    default: throw ModelError.syntax
    }
  }

  private func readGroup(_ arguments: Arguments) throws -> RESP {
    let (group, consumer) = (arguments[2], arguments[3])
    guard let at = arguments.value(of: "STREAMS", from: 4) else { throw ModelError.syntax }
    let key = arguments[at]
    guard let found = try stream(key), found.groups[group] != nil else {
      throw Self.noGroup(key, group, " in XREADGROUP with GROUP option")
    }
    let count = try arguments.value(of: "COUNT", from: 4).map { try arguments.integer($0) } ?? .max
    let moment = now
    if arguments[at + 1] == Array(">".utf8) {
      let entries = data.withStream(key) { $0.readNew(group, consumer, count: count, now: moment) }!
      guard let entries else { return .nullArray }
      return .array([.array([.bulk(key), .array(entries.map(Self.reply))])])
    }
    guard let id = StreamID(arguments[at + 1]) else { throw ModelError.syntax }
    let entries = data.withStream(key) { $0.readPending(group, consumer, after: id, count: count, now: moment) }!
    return .array([
      .array([
        .bulk(key),
        .array(
          entries.map { id, entry in entry.map(Self.reply) ?? .array([.text(id.description), .nullArray]) }),
      ])
    ])
  }
}
