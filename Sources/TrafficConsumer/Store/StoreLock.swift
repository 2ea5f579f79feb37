// StoreLock: the right to write the database, held by one process at a time (flock(2) on `<database>.lock`). The kernel
// gives it back when the process dies, however it dies. Any thread.

import CLinux
import Glibc
import Shared

/// Held as long as the value lives.
struct StoreLock: ~Copyable, Sendable {
  private let file: FileDescriptor

  private init(_ file: consuming FileDescriptor) { self.file = file }

  /// Takes the lock if nobody has it; nil when somebody does.
  static func tryTake(databasePath: String) throws(SystemError) -> StoreLock? {
    let path = databasePath + ".lock"
    let number = clinux_open(path, O_RDWR | O_CREAT, 0o640)
    guard number >= 0 else { throw SystemError("open", subject: path) }
    let file = FileDescriptor(owning: number)
    if retryingInterrupts({ Int(flock(number, LOCK_EX | LOCK_NB)) }) == 0 { return StoreLock(file) }
    guard errno == EWOULDBLOCK else { throw SystemError("flock", subject: path) }
    return nil
  }

  /// Whether some process holds it. A momentary answer, for `status`.
  static func isHeld(databasePath: String) -> Bool {
    let number = clinux_open(databasePath + ".lock", O_RDWR, 0)
    guard number >= 0 else { return false }
    let file = FileDescriptor(owning: number)
    return flock(file.number, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
  }
}
