// Keys, strings and hashes of the model of Redis.

extension RedisModel {
  func performKey(_ name: String, _ arguments: Arguments) throws -> RESP {
    guard arguments.count > 1 else { throw ModelError(text: "ERR wrong number of arguments") }
    let key = arguments[1]
    let slot = data.slot(key, now: now)
    if slot == nil { _ = data.remove(key) }
    switch name {
    case "GET":
      guard let slot else { return .null }
      guard case .string(let value) = slot.value else { throw ModelError.wrongType }
      return .bulk(value)
    case "SET":
      let options = try (3..<max(3, arguments.count)).map { try arguments.text($0).uppercased() }
      if options.contains("NX"), slot != nil { return .null }
      data.set(key, .string(arguments[2]), expires: nil)
      return .ok
    case "DEL", "UNLINK":
      var count: Int64 = 0
      for index in 1..<arguments.count where data.remove(arguments[index]) != nil { count += 1 }
      return .integer(count)
    case "EXISTS": return .integer(slot == nil ? 0 : 1)
    case "TYPE":
      switch slot?.value {
      case .string: return .status("string")
      case .hash: return .status("hash")
      case .stream: return .status("stream")
      case nil: return .status("none")
      }
    case "EXPIRE":
      guard let slot else { return .integer(0) }
      let seconds = try arguments.integer(2)
      if seconds <= 0 {
        _ = data.remove(key)
      } else {
        data.set(key, slot.value, expires: now + UInt64(seconds) * 1000)
      }
      return .integer(1)
    case "PTTL":
      guard let slot else { return .integer(-2) }
      return .integer(slot.expires.map { Int64($0 - now) } ?? -1)
    default: return try performHash(name, arguments, slot)
    }
  }

  private func performHash(_ name: String, _ arguments: Arguments, _ slot: RedisData.Slot?) throws -> RESP {
    let key = arguments[1]
    var hash: [[UInt8]: [UInt8]] = [:]
    if let slot {
      guard case .hash(let found) = slot.value else { throw ModelError.wrongType }
      hash = found
    }
    switch name {
    case "HGET": return hash[arguments[2]].map { .bulk($0) } ?? .null
    case "HMGET": return .array((2..<arguments.count).map { hash[arguments[$0]].map { .bulk($0) } ?? .null })
    case "HGETALL":
      return .array(
        hash.sorted { $0.key.lexicographicallyPrecedes($1.key) }.flatMap { [.bulk($0.key), .bulk($0.value)] })
    case "HDEL":
      var count: Int64 = 0
      for index in 2..<arguments.count where hash.removeValue(forKey: arguments[index]) != nil { count += 1 }
      if hash.isEmpty { _ = data.remove(key) } else { data.set(key, .hash(hash), expires: slot?.expires) }
      return .integer(count)
    case "HSET":
      guard arguments.count >= 4, arguments.count.isMultiple(of: 2) else {
        throw ModelError(text: "ERR wrong number of arguments for 'hset' command")
      }
      hash = [:]
      if slot == nil { data.set(key, .hash([:]), expires: nil) }
      let added = data.withHash(key) { hash in
        var added: Int64 = 0
        for index in stride(from: 2, to: arguments.count, by: 2)
        where hash.updateValue(arguments[index + 1], forKey: arguments[index]) == nil { added += 1 }
        return added
      }
      return .integer(added!)
    default: throw ModelError(text: "ERR unknown command '\(name)'")
    }
  }
}
