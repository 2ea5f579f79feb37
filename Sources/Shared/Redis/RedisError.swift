// RedisError: what can go wrong with a Redis server, by name. Thrown by everything in Redis/. Never holds a secret.

/// The code in front of a Redis error reply ("WRONGTYPE Operation against a key ..."), named where a caller acts on it.
public enum RedisErrorCode: Hashable, Sendable {
  /// Plain `ERR`.
  case err
  /// Authentication is required, or was refused.
  case noAuth, wrongPass
  /// The ACL forbids this command, key or channel.
  case noPerm
  /// The script is not in the server's cache: load it again.
  case noScript
  /// A replica, or a master that lost its replicas (NOREPLICAS), or whose disk fails (MISCONF): do not write here.
  case readOnly, noReplicas, misconfigured
  /// The server is starting, or runs a script that takes too long, or a replica without its master: try again.
  case loading, busy, masterDown, tryAgain
  /// Redis Cluster: the slot lives elsewhere for good, for this one command, or nowhere at the moment.
  case moved, ask, crossSlot, clusterDown
  /// `maxmemory` is reached.
  case outOfMemory
  /// The key holds another type.
  case wrongType
  /// Streams: no such group or stream, the group exists already, the blocked stream was deleted.
  case noGroup, busyGroup, unblocked
  /// MULTI/EXEC was discarded.
  case execAbort
  /// Anything else, as sent.
  case other(String)

  /// The code of its text.
  public init(_ text: some StringProtocol) {
    self = Self.byName[String(text)] ?? .other(String(text))
  }

  private static let byName: [String: RedisErrorCode] = [
    "ERR": .err, "NOAUTH": .noAuth, "WRONGPASS": .wrongPass, "NOPERM": .noPerm, "NOSCRIPT": .noScript,
    "READONLY": .readOnly, "NOREPLICAS": .noReplicas, "MISCONF": .misconfigured, "LOADING": .loading, "BUSY": .busy,
    "MASTERDOWN": .masterDown, "TRYAGAIN": .tryAgain, "MOVED": .moved, "ASK": .ask, "CROSSSLOT": .crossSlot,
    "CLUSTERDOWN": .clusterDown, "OOM": .outOfMemory, "WRONGTYPE": .wrongType, "NOGROUP": .noGroup,
    "BUSYGROUP": .busyGroup, "UNBLOCKED": .unblocked, "EXECABORT": .execAbort,
  ]

  /// The texts of the codes that are named here.
  public static var names: [String] { byName.keys.sorted() }

  /// The text as Redis writes it.
  public var text: String {
    if case .other(let text) = self { return text }
    return Self.byName.first { $0.value == self }?.key ?? "ERR"
  }
}

/// An error reply, as a value: in a pipeline it belongs to one command and leaves its neighbours alone.
public struct RedisServerError: Error, Hashable, Sendable, CustomStringConvertible {
  public let code: RedisErrorCode
  /// The text after the code.
  public let message: String

  public init(code: RedisErrorCode, message: String) {
    self.code = code
    self.message = message
  }

  /// Splits the line of an error reply (without its `-`).
  public init(line: String) {
    let parts = line.split(separator: " ", maxSplits: 1, omittingEmptySubsequences: false)
    code = RedisErrorCode(parts[0])
    message = parts.count > 1 ? String(parts[1]) : ""
  }

  /// `CODE message`. Redis repeats the arguments of an unknown command, which may be a password: they are cut off.
  public var description: String {
    let ending = message.utf8.firstRange(of: ", with args beginning with".utf8)?.lowerBound ?? message.utf8.endIndex
    return "\(code.text) \(message[..<ending])"
  }
}

/// Why a call to Redis did not give a reply.
public enum RedisError: Error, Hashable, Sendable, CustomStringConvertible {
  /// What was going on when the time ran out.
  public enum Phase: String, Hashable, Sendable { case connect, read, write }

  /// No connection: refused, no such host, no such socket, no master known. The text says which.
  case unreachable(String)
  /// The time of `RedisTimeouts` ran out. Whether the server did the work is not known.
  case timedOut(Phase)
  /// The connection ended in between. Whether the server did the work is not known.
  case closed(String)
  /// The server wants other credentials.
  case authentication(RedisServerError)
  /// The server answered with an error.
  case server(RedisServerError)
  /// The bytes received are not the Redis protocol, or not the reply that was expected.
  case protocolViolation(String)

  /// The code of an error reply, nil for everything else.
  public var code: RedisErrorCode? {
    switch self {
    case .server(let error), .authentication(let error): error.code
    default: nil
    }
  }

  /// Whether the connection is of no further use.
  public var endsConnection: Bool {
    if case .server = self { return false }
    return true
  }

  public var description: String {
    switch self {
    case .unreachable(let reason): "unreachable: \(reason)"
    case .timedOut(let phase): "timed out (\(phase.rawValue))"
    case .closed(let reason): "connection closed: \(reason)"
    case .authentication(let error): "authentication refused: \(error)"
    case .server(let error): "server error: \(error)"
    case .protocolViolation(let reason): "protocol violation: \(reason)"
    }
  }
}
