// StoreLock: the right to write the database, held by one process at a time (flock(2) on `<database>.lock`). The kernel
// gives it back when the process dies, however it dies. A holder that lives but does not move (SIGSTOP, a frozen virtual
// machine) is replaced when its heartbeat is old; StoreWriter's fence then keeps it from writing when it wakes up. The
// heart beats on a thread of its own, "lock", whatever long work the holder does. Any thread.

import CLinux
import Glibc
import Linux
import Synchronization

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

  /// Closed, and with it given back, when the heart has stopped.
  private let heart: LockHeart
  private let thread: LockThread

  private init(_ file: consuming FileDescriptor) throws(SystemError) {
    let heart = LockHeart(file)
    self.heart = heart
    thread = LockThread(try NamedThread(name: "lock") { heart.run() })
  }

  deinit {
    heart.stop()
    thread.join()
  }

  /// Takes the lock if it is free, or, when `replacesSilent`, if its holder stands still; nil when another process has it.
  static func tryTake(databasePath: String, replacesSilent: Bool) throws(SystemError) -> StoreLock? {
    let path = databasePath + ".lock"
    if let lock = try take(path) { return lock }
    guard replacesSilent, let age = heartbeatAge(path), age >= staleSeconds else { return nil }
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
    return try StoreLock(file)
  }

  /// The heart stops by itself this long after the last call, once there was one: a holder that does nothing at all any more
  /// is dead, though its process lives. Far above any work between two calls.
  func keepBeating(seconds: UInt64) { heart.keepBeating(seconds: seconds) }

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

private final class LockThread: Sendable {
  private let thread: Mutex<NamedThread?>

  init(_ thread: consuming NamedThread) { self.thread = Mutex(consume thread) }

  func join() {
    let running = thread.withLock { thread in
      let running = thread.take()
      return running
    }
    running?.join()
  }
}

/// Touches the lock file every second, on its own thread.
private final class LockHeart: Sendable {
  private let file: FileDescriptor
  private let isStopping = Atomic<Bool>(false)
  /// Monotonic nanoseconds after which it does not beat any more.
  private let beatsUntil = Atomic<UInt64>(.max)

  private static let pauseMicroseconds: UInt32 = 100_000
  private static let pausesPerBeat = 10

  init(_ file: consuming FileDescriptor) {
    self.file = file
    beat()
  }

  func keepBeating(seconds: UInt64) {
    beatsUntil.store(Clock.monotonicNanoseconds() &+ seconds &* 1_000_000_000, ordering: .relaxed)
  }

  func stop() { isStopping.store(true, ordering: .relaxed) }

  func run() {
    var pauses = 0
    while !isStopping.load(ordering: .relaxed) {
      usleep(Self.pauseMicroseconds)
      pauses += 1
      guard pauses % Self.pausesPerBeat == 0 else { continue }
      if Clock.monotonicNanoseconds() < beatsUntil.load(ordering: .relaxed) { beat() }
    }
  }

  private func beat() { futimens(file.number, nil) }
}
