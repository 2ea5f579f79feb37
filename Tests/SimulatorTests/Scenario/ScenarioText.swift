// ScenarioText: a scenario as lines of words, for the failing ones that are kept (Tests/SimulatorTests/Regressions). Pure.
//
//     seed 7                                   what names and counters are made of
//     site trackers=2 clients=3 spool=0        what differs from SitePlan()
//     client 2 move #1f00                      a step; behind # its salt, hexadecimal

extension Scenario {
  /// The lines of a text; a line that begins with # is for people.
  init(text: String) throws(ScenarioTextError) {
    self.init(seed: 0, site: SitePlan(), steps: [])
    for line in text.split(separator: "\n") where !line.hasPrefix("#") {
      var words = ScenarioWords(line)
      if words.peek == "seed" {
        _ = try words.word()
        seed = UInt64(try words.number())
      } else if words.peek == "site" {
        try site.read(&words)
      } else {
        steps.append(try Step(&words))
      }
    }
  }

  var text: String { (["seed \(seed)", "site " + site.words] + steps.map(\.line)).joined(separator: "\n") + "\n" }
}

struct ScenarioTextError: Error, CustomStringConvertible {
  let description: String
}

/// The words of a line, taken one by one.
struct ScenarioWords {
  private var words: [Substring]
  private let line: Substring
  init(_ line: Substring) {
    self.line = line
    words = line.split(separator: " ")
  }
  var peek: Substring? { words.first }
  mutating func word() throws(ScenarioTextError) -> String {
    guard !words.isEmpty else { throw ScenarioTextError(description: "a word is missing: \(line)") }
    return String(words.removeFirst())
  }
  mutating func number() throws(ScenarioTextError) -> Int {
    let text = try word()
    guard let number = Int(text) else { throw ScenarioTextError(description: "no number, \(text): \(line)") }
    return number
  }
  mutating func flag() throws(ScenarioTextError) -> Bool { try number() != 0 }
  mutating func choice<Value: RawRepresentable>(_ type: Value.Type) throws(ScenarioTextError) -> Value
  where Value.RawValue == String {
    let text = try word()
    guard let value = Value(rawValue: text) else { throw ScenarioTextError(description: "\(text) is none: \(line)") }
    return value
  }
  func unknown() -> ScenarioTextError { ScenarioTextError(description: "not understood: \(line)") }
}

extension SitePlan {
  private static var numbers: [(String, WritableKeyPath<SitePlan, Int>)] {
    [
      ("trackers", \.trackers), ("users", \.users), ("torrents", \.torrents), ("clients", \.clients),
      ("consumers", \.consumers), ("retained", \.retainedBytes), ("ttl", \.ttlSeconds),
      ("stream", \.maximumStreamLength),
      ("queue", \.queueCapacity), ("coalesce", \.coalesceAbove), ("calls", \.recordsPerCall),
    ]
  }
  private static var flags: [(String, WritableKeyPath<SitePlan, Bool>)] {
    [
      ("spool", \.hasSpool), ("sharesSpool", \.sharesSpool), ("wander", \.restartsWander), ("adopts", \.adoptsGroup),
      ("announces", \.countsAnnounces), ("time", \.countsTime), ("noTime", \.hasNoTime), ("losses", \.countsLosses),
      ("hasty", \.isHasty),
    ]
  }

  fileprivate var words: String {
    var words: [String] = []
    let usual = SitePlan()
    for (name, path) in Self.numbers where self[keyPath: path] != usual[keyPath: path] {
      words.append("\(name)=\(self[keyPath: path])")
    }
    for (name, path) in Self.flags where self[keyPath: path] != usual[keyPath: path] {
      words.append("\(name)=\(self[keyPath: path] ? 1 : 0)")
    }
    if permissions != nil { words.append("acl=1") }
    return words.joined(separator: " ")
  }

  fileprivate mutating func read(_ words: inout ScenarioWords) throws(ScenarioTextError) {
    _ = try words.word()
    while words.peek != nil {
      let parts = try words.word().split(separator: "=")
      guard parts.count == 2, let value = Int(parts[1]) else { throw words.unknown() }
      if let (_, path) = Self.numbers.first(where: { $0.0 == parts[0] }) {
        self[keyPath: path] = value
      } else if let (_, path) = Self.flags.first(where: { $0.0 == parts[0] }) {
        self[keyPath: path] = value != 0
      } else if parts[0] == "acl" {
        permissions = DocumentedPermissions.all
      } else {
        throw words.unknown()
      }
    }
  }
}

extension Step {
  fileprivate init(_ words: inout ScenarioWords) throws(ScenarioTextError) {
    switch try words.word() {
    case "client": kind = .announce(client: try words.number(), try words.choice(Announcing.self))
    case "run": kind = .run(actions: try words.number())
    case "wait": kind = .wait(milliseconds: try words.number())
    case "settle": kind = .settle
    case "foreign": kind = .foreign(client: try words.number(), isBad: try words.flag())
    case "fault": kind = .fault(try Fault(&words))
    default: throw words.unknown()
    }
    let text = try words.word()
    guard text.hasPrefix("#"), let salt = UInt64(text.dropFirst(), radix: 16) else { throw words.unknown() }
    self.salt = salt
  }

  fileprivate var line: String {
    let words =
      switch kind {
      case .announce(let client, let how): "client \(client) \(how.rawValue)"
      case .run(let actions): "run \(actions)"
      case .wait(let milliseconds): "wait \(milliseconds)"
      case .settle: "settle"
      case .foreign(let client, let isBad): "foreign \(client) \(isBad ? 1 : 0)"
      case .fault(let fault): "fault \(fault.words)"
      }
    return "\(words) #" + String(salt, radix: 16)
  }
}

extension Fault {
  fileprivate var words: String {
    func flag(_ value: Bool) -> String { value ? "1" : "0" }
    return switch self {
    case .kill(let tracker): "kill \(tracker)"
    case .terminate(let tracker): "terminate \(tracker)"
    case .start(let tracker): "start \(tracker)"
    case .link(let tracker, let mode): "link \(tracker) \(mode.rawValue)"
    case .fuse(let tracker, let commands, let fault): "fuse \(tracker) \(commands) \(fault.rawValue)"
    case .redisDown: "redisDown"
    case .redisUp: "redisUp"
    case .redisHangs(let hangs): "redisHangs \(flag(hangs))"
    case .redisRestart: "redisRestart"
    case .failover(let writes): "failover \(writes)"
    case .entriesForgotten(let entries): "entriesForgotten \(entries)"
    case .resync(let writes): "resync \(writes)"
    case .flushAll: "flushAll"
    case .readOnly(let value): "readOnly \(flag(value))"
    case .outOfMemory(let value): "outOfMemory \(flag(value))"
    case .refusal(let text): "refusal \(text?.split(separator: " ").first ?? "-")"
    case .forgetScripts: "forgetScripts"
    case .trackerClock(let tracker, let milliseconds): "trackerClock \(tracker) \(milliseconds)"
    case .standstill(let tracker, let milliseconds): "standstill \(tracker) \(milliseconds)"
    case .redisClock(let milliseconds): "redisClock \(milliseconds)"
    case .spoolLost(let tracker): "spoolLost \(tracker)"
    case .spoolTorn(let tracker, let bytes): "spoolTorn \(tracker) \(bytes)"
    case .spoolGarbled(let tracker, let bytes): "spoolGarbled \(tracker) \(bytes)"
    case .spoolFlipped(let tracker, let fromEnd): "spoolFlipped \(tracker) \(fromEnd)"
    case .spoolSaved(let tracker): "spoolSaved \(tracker)"
    case .spoolOld(let tracker): "spoolOld \(tracker)"
    case .diskFull(let tracker, let isFull): "diskFull \(tracker) \(flag(isFull))"
    case .consumerKill(let consumer): "consumerKill \(consumer)"
    case .consumerTerminate(let consumer): "consumerTerminate \(consumer)"
    case .consumerStart(let consumer): "consumerStart \(consumer)"
    case .consumerFreeze(let consumer, let isFrozen): "consumerFreeze \(consumer) \(flag(isFrozen))"
    case .consumerLink(let consumer, let mode): "consumerLink \(consumer) \(mode.rawValue)"
    case .consumerFuse(let consumer, let commands, let fault): "consumerFuse \(consumer) \(commands) \(fault.rawValue)"
    case .consumerDisk(let consumer, let isFull): "consumerDisk \(consumer) \(flag(isFull))"
    case .groupDeleted: "groupDeleted"
    case .groupSetBack(let entries): "groupSetBack \(entries)"
    case .entryDeleted(let fromEnd): "entryDeleted \(fromEnd)"
    case .streamTrimmed(let kept): "streamTrimmed \(kept)"
    case .streamDeleted: "streamDeleted"
    case .redisFileSaved: "redisFileSaved"
    case .redisFileRestored: "redisFileRestored"
    case .backup: "backup"
    case .backupRestored: "backupRestored"
    case .heal: "heal"
    case .retention: "retention"
    case .replay: "replay"
    }
  }

  fileprivate init(_ words: inout ScenarioWords) throws(ScenarioTextError) {
    let name = try words.word()
    switch name {
    case "kill": self = .kill(tracker: try words.number())
    case "terminate": self = .terminate(tracker: try words.number())
    case "start": self = .start(tracker: try words.number())
    case "link": self = .link(tracker: try words.number(), try words.choice(SimulatedLink.Mode.self))
    case "fuse":
      self = .fuse(tracker: try words.number(), commands: try words.number(), try words.choice(WireFault.self))
    case "redisDown": self = .redisDown
    case "redisUp": self = .redisUp
    case "redisHangs": self = .redisHangs(try words.flag())
    case "redisRestart": self = .redisRestart
    case "failover": self = .failover(writes: try words.number())
    case "entriesForgotten": self = .entriesForgotten(try words.number())
    case "resync": self = .resync(writes: try words.number())
    case "flushAll": self = .flushAll
    case "readOnly": self = .readOnly(try words.flag())
    case "outOfMemory": self = .outOfMemory(try words.flag())
    case "refusal":
      let text = try words.word()
      self = .refusal(text == "-" ? nil : text)
    case "forgetScripts": self = .forgetScripts
    case "trackerClock": self = .trackerClock(tracker: try words.number(), milliseconds: try words.number())
    case "standstill": self = .standstill(tracker: try words.number(), milliseconds: try words.number())
    case "redisClock": self = .redisClock(milliseconds: try words.number())
    case "spoolLost": self = .spoolLost(tracker: try words.number())
    case "spoolTorn": self = .spoolTorn(tracker: try words.number(), bytes: try words.number())
    case "spoolGarbled": self = .spoolGarbled(tracker: try words.number(), bytes: try words.number())
    case "spoolFlipped": self = .spoolFlipped(tracker: try words.number(), fromEnd: try words.number())
    case "spoolSaved": self = .spoolSaved(tracker: try words.number())
    case "spoolOld": self = .spoolOld(tracker: try words.number())
    case "diskFull": self = .diskFull(tracker: try words.number(), try words.flag())
    default: self = try Fault(consumers: name, &words)
    }
  }

  private init(consumers name: String, _ words: inout ScenarioWords) throws(ScenarioTextError) {
    switch name {
    case "consumerKill": self = .consumerKill(try words.number())
    case "consumerTerminate": self = .consumerTerminate(try words.number())
    case "consumerStart": self = .consumerStart(try words.number())
    case "consumerFreeze": self = .consumerFreeze(try words.number(), try words.flag())
    case "consumerLink": self = .consumerLink(try words.number(), try words.choice(SimulatedLink.Mode.self))
    case "consumerFuse":
      self = .consumerFuse(try words.number(), commands: try words.number(), try words.choice(WireFault.self))
    case "consumerDisk": self = .consumerDisk(try words.number(), isFull: try words.flag())
    case "groupDeleted": self = .groupDeleted
    case "groupSetBack": self = .groupSetBack(entries: try words.number())
    case "entryDeleted": self = .entryDeleted(try words.number())
    case "streamTrimmed": self = .streamTrimmed(try words.number())
    case "streamDeleted": self = .streamDeleted
    case "redisFileSaved": self = .redisFileSaved
    case "redisFileRestored": self = .redisFileRestored
    case "backup": self = .backup
    case "backupRestored": self = .backupRestored
    case "heal": self = .heal
    case "retention": self = .retention
    case "replay": self = .replay
    default: throw words.unknown()
    }
  }
}
