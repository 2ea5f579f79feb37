// RESP: the Redis protocol (RESP2) from the server's side: commands out of bytes, replies into bytes. Values.

/// A reply.
enum RESP: Equatable {
  case null, nullArray
  case integer(Int64)
  case bulk([UInt8])
  case status(String)
  case error(String)
  case array([RESP])

  static func text(_ text: String) -> RESP { .bulk(Array(text.utf8)) }
  static let ok = RESP.status("OK")

  var error: String? { if case .error(let text) = self { text } else { nil } }

  func encode(into bytes: inout [UInt8]) {
    switch self {
    case .null: bytes += "$-1\r\n".utf8
    case .nullArray: bytes += "*-1\r\n".utf8
    case .integer(let value): bytes += ":\(value)\r\n".utf8
    case .bulk(let value):
      bytes += "$\(value.count)\r\n".utf8
      bytes += value
      bytes += "\r\n".utf8
    case .status(let text): bytes += "+\(text)\r\n".utf8
    case .error(let text): bytes += "-\(text)\r\n".utf8
    case .array(let items):
      bytes += "*\(items.count)\r\n".utf8
      for item in items { item.encode(into: &bytes) }
    }
  }

  /// Whole commands; traps on anything else: what is sent is ours.
  static func commands(_ bytes: UnsafeRawBufferPointer) -> [[[UInt8]]] {
    var at = 0
    func number(after mark: UInt8) -> Int {
      precondition(bytes[at] == mark, "no command")
      at += 1
      var value = 0
      while bytes[at] != 0x0d {
        value = value * 10 + Int(bytes[at] - 0x30)
        at += 1
      }
      at += 2
      return value
    }
    var commands: [[[UInt8]]] = []
    while at < bytes.count {
      var arguments: [[UInt8]] = []
      for _ in 0..<number(after: UInt8(ascii: "*")) {
        let count = number(after: UInt8(ascii: "$"))
        arguments.append(Array(bytes[at..<at + count]))
        at += count + 2
      }
      commands.append(arguments)
    }
    return commands
  }
}

extension RESP: CustomStringConvertible {
  var description: String {
    switch self {
    case .null: "(nil)"
    case .nullArray: "(nil array)"
    case .integer(let value): "\(value)"
    case .bulk(let bytes): String(decoding: bytes, as: UTF8.self)
    case .status(let text): "+\(text)"
    case .error(let text): "-\(text)"
    case .array(let items): "[\(items.map(\.description).joined(separator: " "))]"
    }
  }
}
