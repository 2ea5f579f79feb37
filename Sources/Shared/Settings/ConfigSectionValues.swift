// The kinds of value both daemons configure: listening addresses, paths, names. Extends ConfigSection.

import Linux

extension ConfigSection {
  /// What stands in the place of a secret.
  public static let redacted = "***"

  /// Why a text is no listening address, if it is none.
  public static func checkAddress(_ text: String) throws(ConfigComplaint) {
    do throws(SocketAddressError) {
      _ = try SocketAddress(text)
    } catch {
      throw ConfigComplaint(error.description)
    }
  }

  /// An absolute path: a daemon's working directory is not what the operator sees.
  public static func checkPath(_ text: String) throws(ConfigComplaint) {
    guard text.hasPrefix("/"), !text.hasSuffix("/") else {
      throw ConfigComplaint("expected the absolute path of a file, such as /var/lib/pt-tracker/name")
    }
  }

  /// The name of a key, group or consumer in Redis: not empty.
  public static func checkName(_ text: String) throws(ConfigComplaint) {
    if text.isEmpty { throw ConfigComplaint("expected a name, found nothing") }
  }

  /// The name of an HTTP header: a token of RFC 9110 section 5.6.2.
  public static func checkHeaderName(_ name: String) throws(ConfigComplaint) {
    let marks = "!#$%&'*+-.^_`|~".utf8
    guard
      name.utf8.allSatisfy({
        $0 < 0x80 && (Character(Unicode.Scalar($0)).isLetter || $0 >= 0x30 && $0 <= 0x39) || marks.contains($0)
      })
    else { throw ConfigComplaint("expected the name of an HTTP header, such as X-Real-IP, found \(name)") }
  }
}
