// RedisEndpoint: which Redis, from a URL. A value; shows itself only with the secrets taken out.

import Wire

/// Where one Redis process listens.
public enum RedisAddress: Hashable, Sendable, CustomStringConvertible {
  /// A name or an address, without brackets.
  case tcp(host: String, port: UInt16)
  case unix(path: String)
  /// No process: a simulator.
  case simulated(RedisDialer)

  public var description: String {
    switch self {
    case .tcp(let host, let port): host.utf8.contains(UInt8(ascii: ":")) ? "[\(host)]:\(port)" : "\(host):\(port)"
    case .unix(let path): "unix:\(path)"
    case .simulated: "simulated"
    }
  }
}

/// Why a URL is no Redis endpoint. The text is a sentence without the URL, which may hold a password.
public struct RedisURLError: Error, Equatable, Sendable, CustomStringConvertible {
  public let description: String
  init(_ description: String) { self.description = description }
}

/// A Redis, alone or guarded by Sentinels or a Cluster, with credentials and database:
///
///     redis://[user:]password@host:port/db       (also redis://host, redis://:password@host)
///     redis+unix:///path/to/socket?db=N          (also redis+unix://user:password@/path)
///     redis+sentinel://[user:password@]host:port,host:port/master-name/db
///     redis+cluster://[user:password@]host:port,host:port
///
/// User, password and path may be percent-encoded. A userinfo without a colon is the password, as in `redis_broker` of
/// the Chihaya fork this tracker replaces.
public struct RedisEndpoint: Hashable, Sendable, CustomStringConvertible {
  /// How the process that takes the writes is found.
  public enum Topology: Hashable, Sendable {
    case single(RedisAddress)
    /// Ask these Sentinels for the master of that name.
    case sentinel([RedisAddress], master: String)
    /// Ask these nodes which one serves a key's slot.
    case cluster([RedisAddress])
  }

  public let topology: Topology
  public let user: String?
  public let password: String?
  /// The logical database, 0 unless given. A Cluster has only 0.
  public let database: Int

  /// The ports used when a URL names none.
  public static let defaultPort: UInt16 = 6379
  public static let defaultSentinelPort: UInt16 = 26379

  public init(topology: Topology, user: String? = nil, password: String? = nil, database: Int = 0) {
    self.topology = topology
    self.user = user
    self.password = password
    self.database = database
  }

  /// Parses one of the forms above.
  public init(url: String) throws(RedisURLError) {
    guard let scheme = url.utf8.firstRange(of: "://".utf8) else {
      throw RedisURLError("a Redis URL begins with redis://, redis+unix://, redis+sentinel:// or redis+cluster://")
    }
    let rest = url[scheme.upperBound...]
    guard !rest.utf8.contains(UInt8(ascii: "#")) else {
      throw RedisURLError("a # in a Redis URL must be written %23")
    }
    switch url[..<scheme.lowerBound] {
    case "redis": try self.init(single: rest)
    case "redis+unix", "unix": try self.init(unix: rest)
    case "redis+sentinel": try self.init(sentinel: rest)
    case "redis+cluster": try self.init(cluster: rest)
    case "rediss":
      throw RedisURLError("rediss:// (TLS) is not supported: let stunnel or a local proxy carry the connection")
    default:
      throw RedisURLError("a Redis URL begins with redis://, redis+unix://, redis+sentinel:// or redis+cluster://")
    }
  }

  /// Whether it is one Redis without Sentinels and Cluster.
  var isAlone: Bool {
    if case .single = topology { return true }
    return false
  }

  /// The URL with `***` in place of the password.
  public var redacted: String {
    let secret =
      switch (user, password) {
      case (nil, nil): ""
      case (let user?, _): "\(user):***@"
      case (nil, _): ":***@"
      }
    let number = database == 0 ? "" : "/\(database)"
    return switch topology {
    case .single(.tcp(let host, let port)):
      "redis://\(secret)\(RedisAddress.tcp(host: host, port: port))/\(database)"
    case .single(.unix(let path)): "redis+unix://\(secret)\(path)?db=\(database)"
    case .single(let simulated): simulated.description
    case .sentinel(let nodes, let master): "redis+sentinel://\(secret)\(Self.list(nodes))/\(master)\(number)"
    case .cluster(let nodes): "redis+cluster://\(secret)\(Self.list(nodes))"
    }
  }

  public var description: String { redacted }

  private static func list(_ nodes: [RedisAddress]) -> String {
    nodes.map(\.description).joined(separator: ",")
  }

  private init(single rest: Substring) throws(RedisURLError) {
    let (user, password, authority) = try Self.userInfo(rest)
    let (hosts, path) = Self.splitPath(authority)
    guard !hosts.utf8.contains(UInt8(ascii: ",")) else {
      throw RedisURLError("several hosts need redis+sentinel:// or redis+cluster://")
    }
    let address = try Self.address(hosts, defaultPort: Self.defaultPort)
    self.init(topology: .single(address), user: user, password: password, database: try Self.database(path))
  }

  private init(unix rest: Substring) throws(RedisURLError) {
    let (user, password, tail) = try Self.userInfo(rest)
    let parts = tail.split(separator: "?", maxSplits: 1, omittingEmptySubsequences: false)
    let path = try Self.decoded(parts[0])
    guard path.utf8.first == UInt8(ascii: "/"), path.utf8.count > 1 else {
      throw RedisURLError("redis+unix:// needs an absolute path: redis+unix:///run/redis/redis.sock?db=0")
    }
    var number = 0
    if parts.count == 2 {
      guard parts[1].utf8.starts(with: "db=".utf8) else {
        throw RedisURLError("the only parameter of redis+unix:// is db=N")
      }
      number = try Self.database(parts[1].dropFirst(3))
    }
    self.init(topology: .single(.unix(path: path)), user: user, password: password, database: number)
  }

  private init(sentinel rest: Substring) throws(RedisURLError) {
    let (user, password, authority) = try Self.userInfo(rest)
    let (hosts, path) = Self.splitPath(authority)
    let parts = path.split(separator: "/", maxSplits: 1, omittingEmptySubsequences: false)
    guard let name = parts.first, !name.isEmpty else {
      throw RedisURLError("redis+sentinel:// needs the master's name: redis+sentinel://host:26379/mymaster/0")
    }
    let master = try Self.decoded(name)
    let number = try Self.database(parts.count == 2 ? parts[1] : "")
    let nodes = try Self.addresses(hosts, defaultPort: Self.defaultSentinelPort)
    self.init(topology: .sentinel(nodes, master: master), user: user, password: password, database: number)
  }

  private init(cluster rest: Substring) throws(RedisURLError) {
    let (user, password, authority) = try Self.userInfo(rest)
    let (hosts, path) = Self.splitPath(authority)
    guard try Self.database(path) == 0 else {
      throw RedisURLError("a Redis Cluster has only database 0")
    }
    let nodes = try Self.addresses(hosts, defaultPort: Self.defaultPort)
    self.init(topology: .cluster(nodes), user: user, password: password)
  }

  /// `[user:]password@` and what follows it.
  private static func userInfo(_ text: Substring) throws(RedisURLError) -> (String?, String?, Substring) {
    // A password may contain any character percent-encoded; the last @ ahead of the path ends it.
    let authority = text.prefix { $0 != "/" && $0 != "?" }
    guard let at = authority.lastIndex(of: "@") else {
      guard !text.contains("@") || text.utf8.first == UInt8(ascii: "/") else {
        throw RedisURLError("a / or ? in a user name or password must be percent-encoded (%2F, %3F)")
      }
      return (nil, nil, text)
    }
    let info = authority[..<at]
    let rest = text[text.index(after: at)...]
    guard let colon = info.firstIndex(of: ":") else { return (nil, try decoded(info), rest) }
    let user = try decoded(info[..<colon])
    let password = try decoded(info[info.index(after: colon)...])
    guard user.isEmpty || !password.isEmpty else { throw RedisURLError("a user needs a password: user:password@") }
    return (user.isEmpty ? nil : user, password.isEmpty ? nil : password, rest)
  }

  private static func splitPath(_ text: Substring) -> (hosts: Substring, path: Substring) {
    guard let slash = text.firstIndex(of: "/") else { return (text, "") }
    return (text[..<slash], text[text.index(after: slash)...])
  }

  private static func addresses(_ text: Substring, defaultPort: UInt16) throws(RedisURLError) -> [RedisAddress] {
    var result: [RedisAddress] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      result.append(try address(part, defaultPort: defaultPort))
    }
    return result
  }

  private static func address(_ text: Substring, defaultPort: UInt16) throws(RedisURLError) -> RedisAddress {
    var host = text
    var portText: Substring = ""
    if text.first == "[" {
      guard let close = text.firstIndex(of: "]") else { throw RedisURLError("an IPv6 address needs [ and ]") }
      host = text[text.index(after: text.startIndex)..<close]
      portText = text[text.index(after: close)...]
      guard portText.isEmpty || portText.first == ":" else { throw RedisURLError("expected :port after ]") }
      portText = portText.dropFirst()
    } else if let colon = text.firstIndex(of: ":") {
      host = text[..<colon]
      portText = text[text.index(after: colon)...]
      guard !portText.contains(":") else { throw RedisURLError("an IPv6 address needs [ and ]") }
    }
    guard !host.isEmpty else { throw RedisURLError("the host is missing") }
    guard !portText.isEmpty else { return .tcp(host: String(host), port: defaultPort) }
    guard portText.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let port = UInt16(portText), port > 0 else {
      throw RedisURLError("the port must be a number from 1 to 65535")
    }
    return .tcp(host: String(host), port: port)
  }

  private static func database(_ text: Substring) throws(RedisURLError) -> Int {
    if text.isEmpty { return 0 }
    guard text.utf8.count <= 6, text.utf8.allSatisfy({ $0 >= 0x30 && $0 <= 0x39 }), let number = Int(text) else {
      throw RedisURLError("the database must be a number, as in redis://host:6379/0")
    }
    return number
  }

  private static func decoded(_ text: Substring) throws(RedisURLError) -> String {
    guard let decoded = PercentEncoding.decode(text) else {
      throw RedisURLError("a % in a Redis URL must be followed by two hex digits (a plain % is %25)")
    }
    return decoded
  }
}
