// SmallDisk: a file system of a few megabytes that can be filled, for what a full disk does. Needs root; unmounted with
// the value. One task.

import Glibc
import Simulation

/// A mounted tmpfs.
final class SmallDisk {
  private static let megabytes = 24
  static var isPossible: Bool { geteuid() == 0 }

  let path: String
  private var ballast: String { "\(path)/ballast" }

  init(at path: String) throws(HarnessError) {
    self.path = path
    mkdir(path, 0o700)
    guard mount("none", path, "tmpfs", 0, "size=\(Self.megabytes)m") == 0 else {
      throw HarnessError("mount \(path): \(String(cString: strerror(errno)))")
    }
  }

  /// Takes all the room that is left.
  func fill() throws(HarnessError) {
    let file = open(ballast, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard file >= 0 else { throw HarnessError("open \(ballast): \(String(cString: strerror(errno)))") }
    defer { close(file) }
    let zeros = [UInt8](repeating: 0, count: 4096)
    while write(file, zeros, zeros.count) > 0 {}
  }

  func makeRoom() { unlink(ballast) }

  deinit { umount2(path, Int32(MNT_DETACH)) }
}
