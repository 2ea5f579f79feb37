// DocumentedPermissions: the commands that the ACL lines of docs/redis.md let the two users run. Read once.

import Glibc
import Simulation

enum DocumentedPermissions {
  static let all: [String: Set<String>] = {
    var found: [String: Set<String>] = [:]
    let text = TemporaryDirectory.read(Repository.path("docs/redis.md"))
    for line in text.split(separator: "\n") where line.hasPrefix("ACL SETUSER ") {
      let words = line.split(separator: " ")
      let commands = words.filter { $0.hasPrefix("+") }.map { $0.dropFirst().split(separator: "|")[0].uppercased() }
      found[String(words[2])] = Set(commands)
    }
    return found
  }()
}
