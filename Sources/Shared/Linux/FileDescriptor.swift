// FileDescriptor: owns one descriptor and closes it once. Any thread, one owner.

import Glibc

/// An open file descriptor; closed when the value goes away.
public struct FileDescriptor: ~Copyable, Sendable {
  /// The number, for calls; never close it yourself.
  public let number: Int32

  /// Takes ownership of an open descriptor.
  public init(owning number: Int32) { self.number = number }

  /// Gives the descriptor away: the caller closes it.
  public consuming func release() -> Int32 {
    let number = number
    discard self
    return number
  }

  deinit { _ = Glibc.close(number) }
}
