// StoreFile: which file a database path means. A file that is removed or replaced under a running writer can still be
// written to, and everything in it is gone with the process. Writer thread.

import Glibc

/// A path and the file it meant when the database was opened.
struct StoreFile: Sendable {
  private let path: String
  private let device: dev_t
  private let number: ino_t

  /// Nil when there is no file at the path.
  init?(path: String) {
    var info = stat()
    guard stat(path, &info) == 0 else { return nil }
    self.path = path
    device = info.st_dev
    number = info.st_ino
  }

  /// Whether another path means it as well.
  func isSame(as other: String) -> Bool {
    var info = stat()
    return stat(other, &info) == 0 && info.st_dev == device && info.st_ino == number
  }

  /// Whether the path still means the same file. Trouble with looking is no answer, and not a no.
  var isInPlace: Bool {
    var info = stat()
    guard stat(path, &info) == 0 else { return errno != ENOENT && errno != ENOTDIR }
    return info.st_dev == device && info.st_ino == number
  }
}
