// LoadOptions: the command line of the load generator, parsed once at start on the main thread.

/// What to send to whom.
struct LoadOptions {
  enum Transport { case udp, http }
  enum Complaint: Error, CustomStringConvertible {
    case usage(String)
    var description: String {
      switch self {
      case .usage(let text): text
      }
    }
  }

  var transport = Transport.udp
  var host = "127.0.0.1"
  var port: UInt16 = 6969
  /// Seconds of load, the first fifth of which is not counted.
  var seconds = 5.0
  var torrents = 1000
  var peers = 100_000
  var numwant = 50
  /// UDP sockets or HTTP connections, each an address of its own in 127.0.0.0/8.
  var sockets = 16
  var connections = 64
  /// Requests in flight per UDP socket.
  var window = 16
  /// Requests in flight per HTTP connection.
  var pipeline = 1
  var scrapePercent = 0
  /// UDP: BEP 41 URL data; HTTP: the request's path. With a passkey of 32 hex digits behind it when `passkeys` > 0.
  var path = ""
  var passkeys = 0
  var keepsAlive = false
  /// Requests per second offered; 0: a closed loop.
  var rate = 0.0
  /// Each peer once, in order, until all have been answered (UDP).
  var fills = false
  /// Every peer has its own address and port even when there are a million of them; otherwise ports may meet.
  var hasUniquePorts = false
  /// Counters that only grow, as a client's do; otherwise random ones.
  var hasRisingCounters = false
  /// The process whose CPU time is measured over the counted part.
  var process = ProcessorTime()

  static let usage = """
    usage: LoadGenerator udp|http HOST PORT [--seconds 5] [--torrents 1000] [--peers 100000] [--numwant 50]
      [--path /announce/] [--passkeys 1000] [--rate ANNOUNCES_PER_SECOND] [--rising-counters]
      [--pid PID] [--pid-threads PREFIX]
      udp:  [--sockets 16] [--window 16] [--scrape PERCENT] [--fill] [--unique-ports]
      http: [--connections 64] [--keep-alive] [--pipeline 1]
    or: LoadGenerator echo-udp|echo-http PORT, a server that does nothing but answer: the limit of the machine
    """

  /// Reads the arguments behind the program's name.
  init(_ arguments: [String]) throws(Complaint) {
    guard arguments.count >= 3 else { throw .usage(Self.usage) }
    switch arguments[0] {
    case "udp": transport = .udp
    case "http":
      transport = .http
      path = "/announce"
    default: throw .usage(Self.usage)
    }
    host = arguments[1]
    port = try Self.number(arguments[2], "PORT", in: 1...65_535)
    var rest = arguments.dropFirst(3)
    while let option = rest.popFirst() {
      switch option {
      case "--keep-alive": keepsAlive = true
      case "--fill": fills = true
      case "--unique-ports": hasUniquePorts = true
      case "--rising-counters": hasRisingCounters = true
      default:
        guard let value = rest.popFirst() else { throw .usage("\(option): a value is missing\n\(Self.usage)") }
        try read(option, value)
      }
    }
    try checkTogether()
  }

  private mutating func read(_ option: String, _ value: String) throws(Complaint) {
    switch option {
    case "--seconds": seconds = try Self.real(value, option)
    case "--torrents": torrents = try Self.number(value, option, in: 1...10_000_000)
    case "--peers": peers = try Self.number(value, option, in: 1...10_000_000)
    case "--numwant": numwant = try Self.number(value, option, in: 0...10_000)
    case "--sockets": sockets = try Self.number(value, option, in: 1...64)
    case "--connections": connections = try Self.number(value, option, in: 1...4096)
    case "--window": window = try Self.number(value, option, in: 1...64)
    case "--pipeline": pipeline = try Self.number(value, option, in: 1...64)
    case "--scrape": scrapePercent = try Self.number(value, option, in: 0...100)
    case "--path": path = value
    case "--passkeys": passkeys = try Self.number(value, option, in: 0...10_000_000)
    case "--rate": rate = try Self.real(value, option)
    case "--pid": process.pid = try Self.number(value, option, in: 0...4_194_304)
    case "--pid-threads": process.threadPrefix = value
    default: throw .usage("\(option): unknown\n\(Self.usage)")
    }
  }

  private func checkTogether() throws(Complaint) {
    guard path.utf8.count <= 128 else { throw .usage("--path: at most 128 bytes") }
    guard peers >= (transport == .udp ? sockets : connections) else {
      throw .usage("--peers: at least one for each socket")
    }
    if fills && (transport != .udp || rate > 0) { throw .usage("--fill: with udp and without --rate") }
  }

  private static func number<Number: FixedWidthInteger>(
    _ text: String, _ name: String, in range: ClosedRange<Number>
  ) throws(Complaint) -> Number {
    guard let number = Number(text), range.contains(number) else {
      throw .usage("\(name): \(text) is not a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  private static func real(_ text: String, _ name: String) throws(Complaint) -> Double {
    guard let number = Double(text), number >= 0, number.isFinite else {
      throw .usage("\(name): \(text) is not a number")
    }
    return number
  }
}
