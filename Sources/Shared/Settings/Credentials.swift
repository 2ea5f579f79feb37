// Credentials: secrets that the service manager passes in files (systemd.exec(5), LoadCredential=): they show neither in
// `ps e` nor in `systemctl show`. Read at start and on SIGHUP, main thread.

import Glibc
import Linux

enum Credentials {
  /// A URL with a password, a key: more is a mistake.
  static let maximumBytes = 64 << 10

  /// Each file of `folder` as name and value; one line feed at its end does not count. What cannot be read, or is too
  /// large, is left out, with a line in the log.
  static func read(folder: String) -> [String: String] {
    guard let directory = opendir(folder) else { return [:] }
    defer { closedir(directory) }
    var found: [String: String] = [:]
    while let entry = readdir(directory) {
      let name = withUnsafeBytes(of: entry.pointee.d_name) { String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self) }
      // Settings only; `.` and `..` are none either.
      guard name.contains("__") else { continue }
      if let value = text("\(folder)/\(name)") {
        found[name] = value
      } else {
        Log.error("a credential cannot be used", ["name": name, "maximum_bytes": maximumBytes])
      }
    }
    return found
  }

  private static func text(_ path: String) -> String? {
    guard let file = fopen(path, "re") else { return nil }
    defer { fclose(file) }
    var bytes = [UInt8](repeating: 0, count: maximumBytes + 1)
    let count = fread(&bytes, 1, bytes.count, file)
    guard ferror(file) == 0, count <= maximumBytes else { return nil }
    let text = bytes[..<count]
    return String(decoding: text.last == UInt8(ascii: "\n") ? text.dropLast() : text, as: UTF8.self)
  }
}
