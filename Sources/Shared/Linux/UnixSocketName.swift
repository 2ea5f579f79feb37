// UnixSocketName: the address of a unix socket (unix(7)), by path or in the abstract namespace. A value.

import CLinux
import Glibc

/// A `sockaddr_un` and how much of it counts.
public struct UnixSocketName {
  /// What fits into `sun_path` with its final zero.
  public static let maximumPathBytes = 107

  private var storage = sockaddr_un()
  private var byteCount = socklen_t(MemoryLayout<sockaddr_un>.size)

  /// Nil when the path has more than `maximumPathBytes`. A path that begins with `@` is taken as it is.
  public init?(path: String) {
    guard path.utf8.count <= Self.maximumPathBytes else { return nil }
    storage.sun_family = sa_family_t(AF_UNIX)
    withUnsafeMutableBytes(of: &storage.sun_path) { $0.copyBytes(from: path.utf8) }
  }

  /// A path, or `@name` in the abstract namespace; nil when it is neither, or too long.
  public init?(pathOrAbstract text: String) {
    guard text.hasPrefix("/") || text.hasPrefix("@") else { return nil }
    self.init(path: text)
    byteCount = socklen_t(MemoryLayout<sa_family_t>.size + text.utf8.count)
    // An abstract name begins with a zero byte and is as long as the length says.
    if text.hasPrefix("@") { withUnsafeMutableBytes(of: &storage.sun_path) { $0[0] = 0 } }
  }

  /// What a descriptor is bound to; nil when that is no unix socket.
  init?(ofBound descriptor: Int32) {
    let isKnown = withUnsafeMutableBytes(of: &storage) {
      getsockname(descriptor, $0.baseAddress!.assumingMemoryBound(to: sockaddr.self), &byteCount) == 0
    }
    guard isKnown, storage.sun_family == sa_family_t(AF_UNIX) else { return nil }
  }

  /// The path; empty for an abstract name.
  var path: String {
    withUnsafeBytes(of: storage.sun_path) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
  }

  /// Calls `body` with the address; it is not valid after.
  public func withSockaddr<Result: ~Copyable, Failure: Error>(
    _ body: (UnsafePointer<sockaddr>, socklen_t) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    try withUnsafeBytes(of: storage) { (bytes) throws(Failure) in
      try body(bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self), byteCount)
    }
  }
}
