// docs/contract.md says what the program does: names, fields, exit codes, keys and metrics are read out of the page and
// compared with the running daemons, in both directions.

import Foundation
import Redis
import Settings
import Simulation
import Testing
import Wire

@testable import Tracker

/// The page, by section and table.
private struct ContractPage {
  let text = TemporaryDirectory.read(Repository.path("docs/contract.md"))

  /// The rows of the table below `| header |`, each with the texts of its cells, back quotes taken away.
  func rows(below header: String) throws -> [[String]] {
    let lines = text.components(separatedBy: "\n")
    let start = try #require(lines.firstIndex(of: "| \(header) |"), "no table | \(header) |")
    return lines[(start + 2)...].prefix { $0.hasPrefix("|") }.map { line in
      line.dropFirst().dropLast().components(separatedBy: "|").map {
        $0.replacing("`", with: "").trimmingCharacters(in: .whitespaces)
      }
    }
  }

  /// The first cells of a table.
  func names(below header: String) throws -> [String] { try rows(below: header).map { $0[0] } }

  /// The command lines of section 5.
  func commands() throws -> [String] {
    let block = try #require(text.components(separatedBy: "```\n").dropFirst().first)
    return block.split(separator: "\n").map { String($0.dropFirst("traffic-consumer ".count)) }
  }
}

@Suite("docs/contract.md and the program")
struct ContractTests {
  private let page = ContractPage()
  private static let user = "00112233445566778899aabbccddeeff"

  @Test("the options and the default configuration of both daemons", arguments: [Binaries.tracker, Binaries.consumer])
  func options(program: String) async throws {
    let isTracker = program == Binaries.tracker
    let help = try await CommandResult.run([program, "--help"]).output
    let known = help.split(separator: "\n").compactMap { line in
      line.firstMatch(of: /^ +(?:-\w, )?(--[a-z-]+(?: PATH)?) {2}/).map { String($0.1) }
    }
    let documented = try page.names(below: "option | what it does")
    #expect(Set(documented).union(isTracker ? [] : ["--database PATH"]) == Set(known))
    let daemons = try page.rows(below: "binary | job | default configuration")
    let row = try #require(daemons.first { program.hasSuffix("/\($0[0])") })
    let missing = try await CommandResult.run([program] + (isTracker ? ["--help"] : ["manual"]))
    #expect(missing.output.replacing("\\-", with: "-").contains(row[2]), "\(row[2])")
  }

  @Test("the exit codes are those of ExitCode")
  func exitCodes() throws {
    let documented = try page.names(below: "exit code | meaning").compactMap { Int32($0) }
    #expect(documented == (0..<256).filter { ExitCode(rawValue: $0) != nil })
  }

  @Test("the reasons of refusals")
  func refusals() throws {
    #expect(try page.names(below: "reason") == Refusal.allCases.map { "\($0.text)" })
  }

  @Test("the fields of an entry, in their order, as the page, the decoder and Redis have them")
  func fields() async throws {
    let documented = try page.names(below: "field | value")
    #expect(documented == TrafficField.streamOrder.map(\.name))
    #expect(TrafficField.required.map(\.name) == Array(documented.prefix(14)))
    let entry = try await Self.announced { site in
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
      let reply = try connection.command(["XRANGE", "tracker:traffic", "-", "+", "COUNT", "1"])
      let fields = reply.view[0][1]
      return (0..<fields.count).map { fields[$0].string ?? "" }
    }
    #expect(entry.enumerated().filter { $0.offset % 2 == 0 }.map(\.element) == documented)
  }

  @Test("the keys that a tracker and a consumer leave in Redis")
  func keys() async throws {
    let rows = try page.rows(below: "key | type | content")
    let found = try await Self.announced { site in
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
      let reply = try connection.command(["KEYS", "*"])
      let keys = (0..<reply.count).compactMap { reply.view[$0].string }
      return try keys.map { key in
        let type = try site.redisText(["TYPE", key])
        let fields = try connection.command(key.hasPrefix("tracker:last:") ? ["HKEYS", key] : ["ECHO", ""])
        return (key: key, type: type, fields: (0..<fields.count).compactMap { fields.view[$0].string })
      }
    }
    #expect(found.count >= 5 && found.contains { !$0.fields.isEmpty })
    for (key, type, fields) in found {
      let row = rows.first { $0[1] == type && fnmatch($0[0].replacing(/<[a-z_]+>/, with: "*"), key, 0) == 0 }
      let words = try #require(row, "\(type) \(key)")[2].components(separatedBy: CharacterSet.alphanumerics.inverted)
      for field in fields { #expect(words.contains(field), "\(key): \(field)") }
    }
  }

  @Test("every verb, and no other")
  func verbs() async throws {
    let help = try await CommandResult.run([Binaries.consumer, "--help"]).output
    let part = try #require(help.components(separatedBy: "Verbs:\n").last?.components(separatedBy: "\n\n").first)
    let known = part.split(separator: "\n").map { $0.dropFirst(2).components(separatedBy: "  ")[0] }
    let documented = try page.commands()
    for verb in known {
      let lines = documented.filter { $0 == verb || $0.hasPrefix(verb + " ") }
      #expect(lines.count == 1, "\(verb): \(lines)")
      // The options that the page names are options of the verb.
      let own = try await CommandResult.run([Binaries.consumer] + verb.components(separatedBy: " ") + ["--help"]).output
      for option in lines.first?.matches(of: /--[a-z-]+/) ?? [] {
        #expect(own.contains("\(option.0)"), "\(verb) \(option.0)")
      }
    }
    #expect(documented.count == known.count)
  }

  @Test("the keys of JSON output")
  func jsonKeys() async throws {
    var keys: [String: Set<String>] = [:]
    for row in try page.rows(below: "command | has the keys of | and") {
      let basis = row[1].components(separatedBy: " without ")
      let more = Set(row[2].components(separatedBy: ", "))
      keys[row[0]] = try #require(row[1].isEmpty ? [] : keys[basis[0]]).subtracting(basis.dropFirst()).union(more)
    }
    let expected = keys
    var arguments = [
      "query user": [Self.user], "query torrent": [String(repeating: "61", count: 20)], "dlq show": ["1"],
    ]
    arguments["dlq replay"] = ["1", "--dry-run"]
    try await Self.announced { site in
      // One entry that cannot be applied, for the dead letters.
      try site.addToStream([("passkey", Self.user)])
      try await eventually("a dead letter") { try await site.json(StatusReport.self, ["status"]).deadLetters == 1 }
      // And one that is gone before anyone reads it.
      let addAndDelete = "return redis.call('XDEL', KEYS[1], redis.call('XADD', KEYS[1], '*', 'a', 'b'))"
      var connection = try RedisConnection(endpoint: RedisEndpoint(url: site.redis.url))
      _ = try connection.command(["EVAL", addAndDelete, "1", "tracker:traffic"])
      try await eventually("a loss") { try await site.json(StatusReport.self, ["status"]).lost == 1 }
      let report =
        #"{"type":"t","started_at":1,"finished_at":2,"status":"s","exit_code":0,"binary_path":"/b","#
        + #""release_tag":null,"stderr_tail":"","runner_host":"h","runner_pid":1}"#
      let reports = "\(site.directory.path)/reports"
      try FileManager.default.createDirectory(atPath: reports, withIntermediateDirectories: true)
      try report.write(toFile: "\(reports)/a.json", atomically: true, encoding: .utf8)
      try await eventually("the report is imported") {
        try await site.consumer(["tasks", "list", "-o", "csv"]).output.contains("/b")
      }
      let copy = "\(site.directory.path)/copy.db"
      _ = try await site.consumer(["backup", "--to", copy])
      arguments["restore"] = [copy, "--yes"]
      // Last, because it stops the daemon.
      for (command, keys) in expected.sorted(by: { $1.key == "restore" && $0.key != "restore" }) {
        let words = command.components(separatedBy: " ")
        let verb = Array(words.prefix { !$0.hasPrefix("--") })
        let argument = arguments[verb.joined(separator: " ")] ?? []
        let result = try await site.consumer(verb + argument + words.dropFirst(verb.count) + ["-o", "json"])
        let json = try JSONSerialization.jsonObject(with: Data(result.output.utf8))
        let object = json as? [String: Any] ?? (json as? [[String: Any]])?.first ?? [:]
        #expect(Set(object.keys) == keys, "\(command): \(result.output)\(result.errors)")
      }
    }
  }

  @Test("the metrics of both daemons, all of them and no other, and none names a user")
  func metrics() async throws {
    let documented = [
      try page.names(below: "the tracker's metrics"), try page.names(below: "the consumer's metrics"),
    ]
    try await Self.announced { site in
      var udp = try UDPAnnounceClient(.v4(site.endpoints.udpPort))
      _ = try udp.scrape([try #require(InfoHash(hex: String(repeating: "61", count: 20)))])
      for (port, names) in zip([site.metricsPort, site.adminPort], documented) {
        let text = try Site.get(port: port, "/metrics").text
        let exported = text.split(separator: "\n").filter { $0.hasPrefix("# TYPE ") }
          .map { String($0.split(separator: " ")[2]) }
        #expect(Set(exported) == Set(names))
        #expect(!text.contains(Self.user) && !text.contains("6161616161"))
      }
    }
  }

  /// What `body` finds on a site where one user has announced twice and the consumer has read it.
  @discardableResult
  private static func announced<Found>(_ body: (Site) async throws -> Found) async throws -> Found {
    let site = try Site()
    try await site.start()
    try site.approve([user])
    let client = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=-DE0001-000000000001&port=6881&left=0&downloaded=0"
    for uploaded in [0, 1 << 30] {
      let reply = try Site.get(port: site.endpoints.httpPort, "/announce/\(user)?\(client)&uploaded=\(uploaded)")
      try #require(reply.status == 200 && !reply.text.contains("failure"))
    }
    try await eventually("both announces are applied") {
      let status = try? await site.json(StatusReport.self, ["status"])
      return status?.applied == 2
    }
    return try await body(site)
  }
}
