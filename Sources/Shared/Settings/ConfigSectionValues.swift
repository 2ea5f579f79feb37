// The kinds of value both daemons configure: listening addresses, paths, key names. Extends ConfigSection.

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
}
