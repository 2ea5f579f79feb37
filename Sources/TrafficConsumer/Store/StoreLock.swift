// StoreLock: the right to write the database, held by one process at a time (flock(2) on `<database>.lock`). The kernel
// gives it back when the process dies, however it dies. A holder that lives but does not move (SIGSTOP, a frozen virtual
// machine) is replaced when its heartbeat is old; StoreWriter's fence then keeps it from writing when it wakes up. Any
// thread.

import CLinux
import Glibc
import Linux

/// Held as long as the value lives.
struct StoreLock: ~Copyable, Sendable {
  /// A holder that gave no sign for this long is replaced: as long as an entry may be pending before it is claimed, and far
  /// above the slowest commit.
  static let staleSeconds: Int = {
    #if DEBUG
      // Tests do not wait a minute.
      if let text = getenv("TRAFFIC_CONSUMER_STALE_SECONDS"), let seconds = Int(String(cString: text)) {
        return seconds
      }
    #endif
    return 60
  }()

  private let file: FileDescriptor

  private init(_ file: consuming FileDescriptor) { self.file = file }

  /// Takes the lock if it is free, or if its holder stands still; nil when another process has it and moves.
  static func tryTake(databasePath: String) throws(SystemError) -> StoreLock? {
    let path = databasePath + ".lock"
    if let lock = try take(path) { return lock }
    guard let age = heartbeatAge(path), age >= staleSeconds else { return nil }
    Log.warning("the process that has the database does not move, taking its place", ["silent_seconds": age])
    // A new file is a new lock. Should two standbys do this at once, the fence lets the later one write.
    unlink(path)
    return try take(path)
  }

  private static func take(_ path: String) throws(SystemError) -> StoreLock? {
    let number = clinux_open(path, O_RDWR | O_CREAT, 0o640)
    guard number >= 0 else { throw SystemError("open", subject: path) }
    let file = FileDescriptor(owning: number)
    guard retryingInterrupts({ Int(flock(number, LOCK_EX | LOCK_NB)) }) == 0 else {
      guard errno == EWOULDBLOCK else { throw SystemError("flock", subject: path) }
      return nil
    }
    // Another process may have replaced the file between the two calls: then this is a lock on nothing.
    var (mine, there) = (stat(), stat())
    guard fstat(number, &mine) == 0, stat(path, &there) == 0, mine.st_ino == there.st_ino else { return nil }
    let lock = StoreLock(file)
    lock.beat()
    return lock
  }

  /// Says that the holder moves; every second or so.
  func beat() { futimens(file.number, nil) }

  private static func heartbeatAge(_ path: String) -> Int? {
    var info = stat()
    return stat(path, &info) == 0 ? Int(Clock.unixSeconds()) - info.st_mtim.tv_sec : nil
  }

  /// Whether some process holds it. A momentary answer, for `status`.
  static func isHeld(databasePath: String) -> Bool {
    let number = clinux_open(databasePath + ".lock", O_RDWR, 0)
    guard number >= 0 else { return false }
    let file = FileDescriptor(owning: number)
    return flock(file.number, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK
  }
}
