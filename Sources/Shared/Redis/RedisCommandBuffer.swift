// RedisCommandBuffer: requests in the Redis protocol (RESP2), written by hand into one reused buffer: no allocation per
// argument. Owned by one connection or one publisher; not shared.

import Glibc

/// Bytes of zero or more whole commands. `begin(argumentCount:)`, then exactly that many `append`s, for each command.
public struct RedisCommandBuffer: ~Copyable {
  private var storage: UnsafeMutableRawPointer
  /// The memory it holds, in bytes.
  public private(set) var capacity: Int
  /// How many bytes are in it.
  public private(set) var count = 0
  /// How many commands are in it.
  public private(set) var commandCount = 0

  /// `capacity` in bytes is a start; the buffer grows and keeps what it grew to.
  public init(capacity: Int = 4096) {
    self.capacity = max(64, capacity)
    storage = .allocate(byteCount: self.capacity, alignment: 16)
  }

  deinit { storage.deallocate() }

  /// The bytes, valid until the buffer is changed.
  public var bytes: UnsafeRawBufferPointer { UnsafeRawBufferPointer(start: storage, count: count) }

  /// Forgets the commands and keeps the memory.
  public mutating func removeAll() {
    count = 0
    commandCount = 0
  }

  /// Starts a command of `argumentCount` arguments, its name included.
  public mutating func begin(argumentCount: Int) {
    reserve(32)
    put(UInt8(ascii: "*"))
    putDecimal(UInt64(argumentCount))
    putLineEnd()
    commandCount += 1
  }

  /// One argument, any bytes.
  public mutating func append(_ argument: UnsafeRawBufferPointer) {
    reserve(argument.count + 32)
    put(UInt8(ascii: "$"))
    putDecimal(UInt64(argument.count))
    putLineEnd()
    if let base = argument.baseAddress { (storage + count).copyMemory(from: base, byteCount: argument.count) }
    count += argument.count
    putLineEnd()
  }

  public mutating func append(_ argument: String) {
    var argument = argument
    argument.withUTF8 { append(UnsafeRawBufferPointer($0)) }
  }

  public mutating func append(_ argument: [UInt8]) { argument.withUnsafeBytes { append($0) } }

  public mutating func append(_ argument: StaticString) {
    append(UnsafeRawBufferPointer(start: argument.utf8Start, count: argument.utf8CodeUnitCount))
  }

  /// An argument in decimal digits.
  public mutating func append(decimal value: UInt64) {
    reserve(40)
    put(UInt8(ascii: "$"))
    putDecimal(UInt64(Self.digitCount(value)))
    putLineEnd()
    putDecimal(value)
    putLineEnd()
  }

  /// An argument of `count` bytes that `write` fills in.
  public mutating func append(byteCount argumentCount: Int, _ write: (UnsafeMutableRawPointer) -> Void) {
    reserve(argumentCount + 32)
    put(UInt8(ascii: "$"))
    putDecimal(UInt64(argumentCount))
    putLineEnd()
    write(storage + count)
    count += argumentCount
    putLineEnd()
  }

  /// A whole command.
  public mutating func append(command arguments: [String]) {
    begin(argumentCount: arguments.count)
    for argument in arguments { append(argument) }
  }

  /// Whole commands that were encoded elsewhere.
  public mutating func append(encoded other: borrowing RedisCommandBuffer) {
    let bytes = other.bytes
    reserve(bytes.count)
    if let base = bytes.baseAddress { (storage + count).copyMemory(from: base, byteCount: bytes.count) }
    count += bytes.count
    commandCount += other.commandCount
  }

  private mutating func put(_ byte: UInt8) {
    storage.storeBytes(of: byte, toByteOffset: count, as: UInt8.self)
    count += 1
  }

  private mutating func putLineEnd() {
    storage.storeBytes(of: UInt16(0x0a0d).littleEndian, toByteOffset: count, as: UInt16.self)
    count += 2
  }

  private mutating func putDecimal(_ value: UInt64) {
    let digits = Self.digitCount(value)
    var rest = value
    var at = count + digits
    repeat {
      at -= 1
      storage.storeBytes(of: UInt8(truncatingIfNeeded: rest % 10) + 0x30, toByteOffset: at, as: UInt8.self)
      rest /= 10
    } while rest > 0
    count += digits
  }

  private static func digitCount(_ value: UInt64) -> Int {
    var digits = 1
    var rest = value
    while rest >= 10 {
      rest /= 10
      digits += 1
    }
    return digits
  }

  private mutating func reserve(_ more: Int) {
    guard count + more > capacity else { return }
    capacity = max(capacity * 2, count + more)
    let larger = UnsafeMutableRawPointer.allocate(byteCount: capacity, alignment: 16)
    larger.copyMemory(from: storage, byteCount: count)
    storage.deallocate()
    storage = larger
  }
}
