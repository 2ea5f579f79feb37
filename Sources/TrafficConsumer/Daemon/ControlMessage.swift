// ControlMessage: what goes over the control socket between a verb and the running daemon: a list of texts, each behind
// its length, the whole behind its length. Any thread.
//
//   bytes  0-3   length of the rest, little-endian
//   then, for each text: 4 bytes length, little-endian; the bytes

import CLinux
import Glibc
import Linux
import Settings

struct ControlMessage: Equatable, Sendable {
  var words: [String]

  /// The longest answer: some thousand dead letters' results.
  static let maximumBytes = 16 << 20
  /// The longest request: an argument of the kernel's longest, or some thousand ids. The daemon holds as many of these as it
  /// has clients, and takes 64 MB in all.
  static let maximumRequestBytes = 256 << 10

  /// Bytes on the socket.
  var byteCount: Int { words.reduce(0) { $0 + 4 + $1.utf8.count } }

  /// The answer to a request that was carried out, and to one that was not.
  static func ok(_ words: [String]) -> ControlMessage { ControlMessage(words: ["ok"] + words) }
  static func error(_ code: ExitCode, _ text: String) -> ControlMessage {
    ControlMessage(words: ["error", String(code.rawValue), text])
  }

  /// Reads one message; nil at the end of the connection, or when it is none or too long.
  static func receive(from descriptor: Int32, atMost maximumBytes: Int = maximumBytes) -> ControlMessage? {
    guard let head = read(4, from: descriptor) else { return nil }
    let count = head.withUnsafeBytes { Int(UInt32(littleEndian: $0.loadUnaligned(as: UInt32.self))) }
    guard count <= maximumBytes, let body = read(count, from: descriptor) else { return nil }
    let fields = body.withUnsafeBytes { EntryFields(stored: $0) }
    return fields.map { ControlMessage(words: $0.items.map { String(decoding: $0, as: UTF8.self) }) }
  }

  /// Sends the message; false when the other side is gone.
  @discardableResult
  func send(to descriptor: Int32) -> Bool {
    let body = EntryFields(items: words.map { Array($0.utf8) }).stored
    var rest = withUnsafeBytes(of: UInt32(body.count).littleEndian) { Array($0) }[...] + body
    while !rest.isEmpty {
      let sent = retryingInterrupts {
        rest.withUnsafeBytes { Glibc.send(descriptor, $0.baseAddress, $0.count, Int32(MSG_NOSIGNAL)) }
      }
      guard sent > 0 else { return false }
      rest = rest.dropFirst(sent)
    }
    return true
  }

  private static func read(_ count: Int, from descriptor: Int32) -> [UInt8]? {
    var bytes = [UInt8](repeating: 0, count: count)
    var have = 0
    while have < count {
      let received = retryingInterrupts {
        bytes.withUnsafeMutableBytes { recv(descriptor, $0.baseAddress! + have, count - have, 0) }
      }
      guard received > 0 else { return nil }
      have += received
    }
    return bytes
  }
}

/// A unix stream socket with timeouts on both directions.
enum ControlSocket {
  static func make(timeoutSeconds: Int) throws(SystemError) -> FileDescriptor {
    let number = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue | SOCK_CLOEXEC.rawValue), 0)
    guard number >= 0 else { throw SystemError("socket") }
    setTimeout(number, seconds: timeoutSeconds)
    return FileDescriptor(owning: number)
  }

  static func setTimeout(_ number: Int32, seconds: Int) {
    var time = timeval(tv_sec: seconds, tv_usec: 0)
    setsockopt(number, SOL_SOCKET, SO_RCVTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
    setsockopt(number, SOL_SOCKET, SO_SNDTIMEO, &time, socklen_t(MemoryLayout<timeval>.size))
  }

  /// Calls `body` with the socket address of a path; ENAMETOOLONG when it has more than 107 bytes (unix(7)).
  static func withAddress(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    guard let name = UnixSocketName(path: path) else {
      errno = ENAMETOOLONG
      return -1
    }
    return name.withSockaddr(body)
  }

  /// Connects to a listening daemon; nil when no daemon listens there.
  static func connect(_ path: String, timeoutSeconds: Int) -> FileDescriptor? {
    guard let handle = try? make(timeoutSeconds: timeoutSeconds) else { return nil }
    let number = handle.number
    guard withAddress(path, { Glibc.connect(number, $0, $1) }) == 0 else { return nil }
    return handle
  }
}
