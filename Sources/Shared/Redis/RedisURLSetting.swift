// The kind of value that both daemons configure for Redis: its URL, with a password in it. Extends ConfigSection.

import Settings

extension ConfigSection {
  /// Why a text is no Redis URL, if it is none.
  public static func checkRedisURL(_ text: String) throws(ConfigComplaint) {
    do throws(RedisURLError) {
      _ = try RedisEndpoint(url: text)
    } catch {
      throw ConfigComplaint(error.description)
    }
  }

  /// A Redis URL without its password; all of it is withheld when it is none.
  public static func redactRedisURL(_ text: String) -> String { (try? RedisEndpoint(url: text))?.redacted ?? redacted }
}
