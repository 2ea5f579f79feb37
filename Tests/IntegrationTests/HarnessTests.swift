// The harness itself: what the other tests rely on must not be what fails silently.

import Foundation
import Simulation
import Testing

@Suite("The test harness")
struct HarnessTests {
  @Test("a redis-server of our own answers, keeps its data over a restart and leaves with its directory")
  func redisRestart() async throws {
    let path: String
    do {
      let directory = try TemporaryDirectory()
      path = directory.path
      let redis = try await RedisServer.start(in: directory)
      let first = redis.pid
      _ = try await CommandResult.run(["redis-cli", "-s", redis.socketPath, "SET", "a", "b"])
      try await redis.stop()
      try await redis.start()
      #expect(redis.pid != first)
      let got = try await CommandResult.run(["redis-cli", "-s", redis.socketPath, "GET", "a"])
      #expect(got.output == "b\n")
      let pid = try #require(redis.pid)
      redis.kill9()
      #expect(kill(pid, 0) == -1)
      withExtendedLifetime(directory) {}
    }
    #expect(!FileManager.default.fileExists(atPath: path))
  }

  @Test("a command's exit code, signal, output and errors are told apart")
  func commands() async throws {
    let result = try await CommandResult.run(["/bin/sh", "-c", "cat; echo no >&2; exit 3"], input: "yes")
    #expect(result.exit == .code(3))
    #expect(result.output == "yes")
    #expect(result.errors == "no\n")
    let killed = try await CommandResult.run(["/bin/sh", "-c", "kill -9 $$"])
    #expect(killed.exit == .signal(9))
  }

  @Test(
    "bencoding decodes",
    arguments: [
      ("i-3e", Bencode.integer(-3)), ("0:", .bytes([])), ("le", .list([])),
      ("d1:ai1e1:bl1:xee", .dictionary([[0x61]: .integer(1), [0x62]: .list([.bytes([0x78])])])),
    ])
  func bencode(text: String, value: Bencode) throws {
    #expect(try Bencode.decode(Array(text.utf8)) == value)
  }

  @Test("bad bencoding is refused", arguments: ["", "i03e", "i-0e", "d1:bi1e1:ai1ee", "5:abc", "i1ei2e", "x", "l"])
  func badBencode(text: String) {
    #expect(throws: Bencode.DecodeError.self) { try Bencode.decode(Array(text.utf8)) }
  }

  @Test("URL data is split into options of at most 255 bytes and ended", arguments: [0, 1, 255, 256, 600])
  func urlOptions(length: Int) {
    let text = (0..<length).map { UInt8(truncatingIfNeeded: $0) }
    var options = UDPAnnounceClient.urlOptions(text)[...]
    var joined: [UInt8] = []
    while options.first == 2 {
      let count = Int(options[options.startIndex + 1])
      joined += options.dropFirst(2).prefix(count)
      options = options.dropFirst(2 + count)
    }
    #expect(options == [0])
    #expect(joined == text)
  }

  @Test("a port is given once, and not by another process either")
  func ports() async throws {
    let mine = try (0..<120).map { _ in try FreePort.take() }
    #expect(Set(mine).count == mine.count)
    // The block's first port is held: a second process cannot begin the same block.
    let blocks = Set(mine.map { ($0 - 10_000) / 50 })
    for block in blocks {
      let socket = try ClientSocket(.v4(10_000 + block * 50), udp: true, timeoutMilliseconds: 100)
      try socket.send([1])
      // A port without a listener refuses (ICMP port unreachable shows at the receive); a held port stays silent.
      #expect(try socket.receive() == nil)
    }
  }
}
