// LuaLibrary: the library functions that the scripts use, with the meaning they have inside Redis: string, table, math, and
// the struct library (https://redis.io/docs/latest/develop/interact/programmability/lua-api/). One thread.

import Glibc

enum LuaLibrary {
  /// A table of globals with everything but `redis`, `KEYS` and `ARGV`.
  static func globals() -> LuaTable {
    let globals = LuaTable()
    func add(_ name: String, _ call: @escaping ([LuaValue]) throws(LuaError) -> [LuaValue]) {
      globals[name] = .function(LuaFunction(call))
    }
    add("type") { values throws(LuaError) in [.text((values.first ?? .nil).typeName)] }
    add("tonumber") { values throws(LuaError) in [(values.first ?? .nil).asNumber.map { .number($0) } ?? .nil] }
    add("tostring") { values throws(LuaError) in [.string(tostring(values.first ?? .nil))] }
    add("error") { values throws(LuaError) in
      throw LuaError(String(decoding: values.first?.asBytes ?? [], as: UTF8.self))
    }
    let step = LuaFunction { values throws(LuaError) in
      guard case .table(let table) = values[0], case .number(let index) = values[1] else { return [.nil] }
      let value = try table.get(.number(index + 1))
      return value == .nil ? [.nil] : [.number(index + 1), value]
    }
    add("ipairs") { values throws(LuaError) in [.function(step), values[0], .number(0)] }
    add("unpack") { values throws(LuaError) in
      guard case .table(let table) = values.first ?? .nil else { throw LuaError("unpack: no table") }
      return table.list
    }
    globals["string"] = .table(strings())
    globals["struct"] = .table(structs())
    globals["math"] = .table(mathematics())
    let tables = LuaTable()
    tables["concat"] = .function(
      LuaFunction { values throws(LuaError) in
        guard case .table(let table) = values.first ?? .nil else { throw LuaError("concat: no table") }
        let separator = values.count > 1 ? values[1].asBytes ?? [] : []
        var bytes: [UInt8] = []
        for (index, value) in table.list.enumerated() {
          guard let part = value.asBytes else { throw LuaError("concat: invalid value") }
          if index > 0 { bytes += separator }
          bytes += part
        }
        return [.string(bytes)]
      })
    tables["insert"] = .function(
      LuaFunction { values throws(LuaError) in
        guard case .table(let table) = values.first ?? .nil else { throw LuaError("insert: no table") }
        try table.set(.number(Double(table.list.count + 1)), values[1])
        return []
      })
    globals["table"] = .table(tables)
    return globals
  }

  private static func tostring(_ value: LuaValue) -> [UInt8] {
    switch value {
    case .nil: Array("nil".utf8)
    case .bool(let bool): Array((bool ? "true" : "false").utf8)
    default: value.asBytes ?? Array(value.typeName.utf8)
    }
  }

  private static func mathematics() -> LuaTable {
    let table = LuaTable()
    func add(_ name: String, _ body: @escaping ([Double]) -> Double) {
      table[name] = .function(
        LuaFunction { values throws(LuaError) in
          var numbers: [Double] = []
          for value in values {
            guard let number = value.asNumber else { throw LuaError("math.\(name): no number") }
            numbers.append(number)
          }
          guard !numbers.isEmpty else { throw LuaError("math.\(name): no argument") }
          return [.number(body(numbers))]
        })
    }
    add("floor") { $0[0].rounded(.down) }
    add("ceil") { $0[0].rounded(.up) }
    add("abs") { abs($0[0]) }
    add("max") { $0.max()! }
    add("min") { $0.min()! }
    table["huge"] = .number(.infinity)
    return table
  }

  private static func strings() -> LuaTable {
    let table = LuaTable()
    func add(_ name: String, _ body: @escaping ([UInt8], [LuaValue]) throws(LuaError) -> [LuaValue]) {
      table[name] = .function(
        LuaFunction { values throws(LuaError) in
          guard let bytes = values.first?.asBytes else { throw LuaError("string.\(name): no string") }
          return try body(bytes, values)
        })
    }
    func number(_ values: [LuaValue], _ index: Int, or fallback: Int) -> Int {
      index < values.count ? values[index].asNumber.map { Int($0) } ?? fallback : fallback
    }
    add("sub") { bytes, values throws(LuaError) in
      var (first, last) = (number(values, 1, or: 1), number(values, 2, or: -1))
      if first < 0 { first = max(1, bytes.count + first + 1) } else if first == 0 { first = 1 }
      if last < 0 { last = bytes.count + last + 1 } else { last = min(last, bytes.count) }
      return [.string(first <= last ? Array(bytes[(first - 1)..<last]) : [])]
    }
    add("byte") { bytes, values throws(LuaError) in
      let index = number(values, 1, or: 1)
      return index >= 1 && index <= bytes.count ? [.number(Double(bytes[index - 1]))] : []
    }
    add("len") { bytes, _ throws(LuaError) in [.number(Double(bytes.count))] }
    add("rep") { bytes, values throws(LuaError) in
      [.string(Array(repeatElement(bytes, count: max(0, number(values, 1, or: 0))).joined()))]
    }
    add("lower") { bytes, _ throws(LuaError) in [.text(String(decoding: bytes, as: UTF8.self).lowercased())] }
    add("format") { bytes, values throws(LuaError) in
      guard bytes == Array("%d".utf8) else {
        throw LuaError("string.format: only %d, not \(String(decoding: bytes, as: UTF8.self))")
      }
      guard values.count > 1, let number = values[1].asNumber else { throw LuaError("string.format: no number") }
      // C's conversion of a double to a long; what does not fit is not defined there.
      guard let integer = Int64(exactly: number.rounded(.towardZero)) else {
        throw LuaError("string.format: \(number) is no integer of 64 bits")
      }
      return [.text(String(integer))]
    }
    return table
  }

  // MARK: struct

  private enum Part {
    case integer(bytes: Int, signed: Bool)
    case skip
    /// Bytes of a fixed count; nil: as many as the last number says.
    case characters(Int?)
    case terminated
  }

  nonisolated(unsafe) private static var known: [[UInt8]: [Part]] = [:]

  /// The parts of a format; little-endian only.
  private static func parts(_ format: [UInt8]) throws(LuaError) -> [Part] {
    if let parts = known[format] { return parts }
    var parts: [Part] = []
    var at = 0
    func size(or fallback: Int) -> (Int, isGiven: Bool) {
      var value = 0
      var isGiven = false
      while at < format.count, (0x30...0x39).contains(format[at]) {
        value = value * 10 + Int(format[at] - 0x30)
        at += 1
        isGiven = true
      }
      return (isGiven ? value : fallback, isGiven)
    }
    while at < format.count {
      let code = format[at]
      at += 1
      switch code {
      case UInt8(ascii: "<"), UInt8(ascii: " "): break
      case UInt8(ascii: "B"): parts.append(.integer(bytes: 1, signed: false))
      case UInt8(ascii: "H"): parts.append(.integer(bytes: 2, signed: false))
      case UInt8(ascii: "L"): parts.append(.integer(bytes: 8, signed: false))
      case UInt8(ascii: "I"): parts.append(.integer(bytes: size(or: 4).0, signed: false))
      case UInt8(ascii: "i"): parts.append(.integer(bytes: size(or: 4).0, signed: true))
      case UInt8(ascii: "x"): parts.append(.skip)
      case UInt8(ascii: "c"):
        let (count, isGiven) = size(or: 1)
        parts.append(.characters(isGiven && count == 0 ? nil : count))
      case UInt8(ascii: "s"): parts.append(.terminated)
      default: throw LuaError("struct: no format '\(String(decoding: [code], as: UTF8.self))'")
      }
    }
    known[format] = parts
    return parts
  }

  private static func structs() -> LuaTable {
    let table = LuaTable()
    table["unpack"] = .function(
      LuaFunction { values throws(LuaError) in
        guard let format = values.first?.asBytes, values.count > 1, let data = values[1].asBytes else {
          throw LuaError("struct.unpack: arguments")
        }
        return try unpack(format, data, from: values.count > 2 ? Int(values[2].asNumber ?? 1) - 1 : 0)
      })
    table["pack"] = .function(
      LuaFunction { values throws(LuaError) in
        guard let format = values.first?.asBytes else { throw LuaError("struct.pack: arguments") }
        return [.string(try pack(format, Array(values.dropFirst())))]
      })
    return table
  }

  private static func unpack(_ format: [UInt8], _ data: [UInt8], from start: Int) throws(LuaError) -> [LuaValue] {
    var at = start
    var values: [LuaValue] = []
    values.reserveCapacity(20)
    func require(_ count: Int) throws(LuaError) {
      guard at >= 0, at + count <= data.count else {
        throw LuaError("bad argument #2 to 'unpack' (data string too short)")
      }
    }
    for part in try parts(format) {
      switch part {
      case .integer(let bytes, let signed):
        try require(bytes)
        var value: UInt64 = 0
        for index in 0..<min(8, bytes) { value |= UInt64(data[at + index]) << UInt64(8 * index) }
        at += bytes
        // Numbers are doubles, as in Redis.
        if signed {
          let shift = UInt64(64 - 8 * bytes)
          values.append(.number(Double(Int64(bitPattern: value << shift) >> Int64(shift))))
        } else {
          values.append(.number(Double(value)))
        }
      case .skip:
        try require(1)
        at += 1
      case .characters(let fixed):
        var count = fixed ?? 0
        if fixed == nil {
          guard case .number(let number)? = values.popLast() else { throw LuaError("struct.unpack: c0 without size") }
          count = Int(number)
        }
        try require(count)
        values.append(.string(Array(data[at..<at + count])))
        at += count
      case .terminated:
        guard let end = data[at...].firstIndex(of: 0) else { throw LuaError("unfinished string in data") }
        values.append(.string(Array(data[at..<end])))
        at = end + 1
      }
    }
    values.append(.number(Double(at + 1)))
    return values
  }

  private static func pack(_ format: [UInt8], _ values: [LuaValue]) throws(LuaError) -> [UInt8] {
    var bytes: [UInt8] = []
    var rest = values[...]
    func next() throws(LuaError) -> LuaValue {
      guard let value = rest.popFirst() else { throw LuaError("struct.pack: too few values") }
      return value
    }
    for part in try parts(format) {
      switch part {
      case .integer(let count, _):
        guard let number = try next().asNumber else { throw LuaError("struct.pack: no number") }
        // lstruct.c: a negative double goes through the signed type.
        let value = number < 0 ? UInt64(bitPattern: Int64(number)) : UInt64(number)
        for index in 0..<count { bytes.append(index < 8 ? UInt8(truncatingIfNeeded: value >> UInt64(8 * index)) : 0) }
      case .skip: bytes.append(0)
      case .characters(let fixed):
        guard let text = try next().asBytes else { throw LuaError("struct.pack: no string") }
        let count = fixed ?? text.count
        guard text.count >= count else { throw LuaError("arg to short for 'c' size") }
        bytes += text[..<count]
      case .terminated:
        guard let text = try next().asBytes else { throw LuaError("struct.pack: no string") }
        bytes += text + [0]
      }
    }
    return bytes
  }
}
