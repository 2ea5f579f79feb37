// LuaValue: what a Lua 5.1 program computes with, as far as the scripts of this repository need it. One thread.

import Glibc

/// A Lua value. Strings are bytes.
enum LuaValue {
  case `nil`
  case bool(Bool)
  case number(Double)
  case string([UInt8])
  case table(LuaTable)
  case function(LuaFunction)

  static func text(_ text: String) -> LuaValue { .string(Array(text.utf8)) }

  /// Everything but nil and false.
  var isTrue: Bool {
    switch self {
    case .nil, .bool(false): false
    default: true
    }
  }

  /// What `type` says.
  var typeName: String {
    switch self {
    case .nil: "nil"
    case .bool: "boolean"
    case .number: "number"
    case .string: "string"
    case .table: "table"
    case .function: "function"
    }
  }

  /// The number of a number or of a string that is one, as arithmetic takes it.
  var asNumber: Double? {
    switch self {
    case .number(let number): number
    case .string(let bytes): LuaValue.number(of: bytes)
    default: nil
    }
  }

  /// The bytes of a string or number, as concatenation takes them.
  var asBytes: [UInt8]? {
    switch self {
    case .string(let bytes): bytes
    case .number(let number): Array(LuaValue.text(of: number).utf8)
    default: nil
    }
  }

  static func number(of bytes: [UInt8]) -> Double? {
    // Nearly every number here is some digits.
    if !bytes.isEmpty, bytes.count < 16 {
      var value = 0
      var isPlain = true
      for byte in bytes {
        guard case let digit = Int(byte) - 0x30, (0...9).contains(digit) else {
          isPlain = false
          break
        }
        value = value * 10 + digit
      }
      if isPlain { return Double(value) }
    }
    let text = String(decoding: bytes, as: UTF8.self).trimmed
    guard let first = text.utf8.first, first != UInt8(ascii: "i"), first != UInt8(ascii: "n") else { return nil }
    if text.hasPrefix("0x") || text.hasPrefix("0X") { return UInt64(text.dropFirst(2), radix: 16).map { Double($0) } }
    return Double(text)
  }

  /// As `tostring` writes a number: "%.14g".
  static func text(of number: Double) -> String {
    if number == number.rounded(.towardZero), abs(number) < 1e15 { return String(Int64(number)) }
    return withUnsafeTemporaryAllocation(of: CChar.self, capacity: 64) { buffer in
      withVaList([number]) { _ = vsnprintf(buffer.baseAddress!, 64, "%.14g", $0) }
      return String(cString: buffer.baseAddress!)
    }
  }

  static func == (left: LuaValue, right: LuaValue) -> Bool {
    switch (left, right) {
    case (.nil, .nil): true
    case (.bool(let a), .bool(let b)): a == b
    case (.number(let a), .number(let b)): a == b
    case (.string(let a), .string(let b)): a == b
    case (.table(let a), .table(let b)): a === b
    case (.function(let a), .function(let b)): a === b
    default: false
    }
  }
}

extension String {
  fileprivate var trimmed: String {
    String(drop { $0 == " " || $0 == "\t" || $0 == "\n" }.reversed().drop { $0 == " " || $0 == "\n" }.reversed())
  }
}

/// A table: 1, 2, 3, ... side by side, the rest by key.
final class LuaTable {
  enum Key: Hashable {
    case string([UInt8])
    case number(Double)
    case bool(Bool)
    case object(ObjectIdentifier)
  }
  var list: [LuaValue] = []
  var rest: [Key: LuaValue] = [:]

  init() {}
  init(list: [LuaValue]) { self.list = list }

  private static func key(_ value: LuaValue) throws(LuaError) -> Key {
    switch value {
    case .nil: throw LuaError("table index is nil")
    case .bool(let bool): .bool(bool)
    case .number(let number): .number(number)
    case .string(let bytes): .string(bytes)
    case .table(let table): .object(ObjectIdentifier(table))
    case .function(let function): .object(ObjectIdentifier(function))
    }
  }

  func get(_ index: LuaValue) throws(LuaError) -> LuaValue {
    if case .number(let number) = index, number >= 1, number <= Double(list.count),
      number == number.rounded(.towardZero)
    {
      return list[Int(number) - 1]
    }
    if rest.isEmpty { return .nil }
    if case .nil = index { return .nil }
    return rest[try Self.key(index)] ?? .nil
  }

  func set(_ index: LuaValue, _ value: LuaValue) throws(LuaError) {
    if case .number(let number) = index, number >= 1, number == number.rounded(.towardZero) {
      let position = Int(number) - 1
      if position < list.count {
        if case .nil = value, position == list.count - 1 { list.removeLast() } else { list[position] = value }
        return
      }
      if position == list.count {
        if case .nil = value { return }
        list.append(value)
        while let next = rest.removeValue(forKey: .number(Double(list.count + 1))) { list.append(next) }
        return
      }
    }
    let key = try Self.key(index)
    if case .nil = value { rest[key] = nil } else { rest[key] = value }
  }

  subscript(_ name: String) -> LuaValue {
    get { rest[.string(Array(name.utf8))] ?? .nil }
    set { rest[.string(Array(name.utf8))] = newValue }
  }
}

/// A function, of the program or of the library.
final class LuaFunction {
  let call: ([LuaValue]) throws(LuaError) -> [LuaValue]
  init(_ call: @escaping ([LuaValue]) throws(LuaError) -> [LuaValue]) { self.call = call }
}

/// Why a program did not compile or run to its end.
struct LuaError: Error, CustomStringConvertible {
  var description: String
  init(_ description: String) { self.description = description }
}
