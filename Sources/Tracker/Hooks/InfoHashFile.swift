// InfoHashFile: a list of info hashes in a file, one a line. Read with the configuration, on the main thread.
//
//   # a comment, an empty line, or 40 hex digits with anything behind a space

import Foundation
import Settings
import Wire

/// Reads `whitelist_file` and `blacklist_file`.
enum InfoHashFile {
  /// Ten million lines; a larger list belongs into a Redis set.
  static let maximumBytes = 450_000_000

  static func read(_ path: String) throws(ConfigComplaint) -> [InfoHash] {
    guard let data = FileManager.default.contents(atPath: path) else {
      throw ConfigComplaint("the file \(path) cannot be read")
    }
    guard data.count <= maximumBytes else { throw ConfigComplaint("the file \(path) is larger than 450 MB") }
    var infoHashes: [InfoHash] = []
    var number = 0
    for line in data.split(separator: UInt8(ascii: "\n"), omittingEmptySubsequences: false) {
      number += 1
      let digits = line.prefix { $0 > 0x20 }
      if digits.first == UInt8(ascii: "#") || line.allSatisfy({ $0 <= 0x20 }) { continue }
      guard digits.count == 2 * InfoHash.byteCount, let bytes = Hex.decode(digits) else {
        throw ConfigComplaint("line \(number) of \(path) does not begin with an infohash of 40 hex digits")
      }
      infoHashes.append(bytes.withUnsafeBytes { InfoHash($0.baseAddress!) })
    }
    return infoHashes
  }
}
