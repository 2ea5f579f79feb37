import Testing

import enum Simulation.Bencode

@testable import HTTP
@testable import Tracker
@testable import Wire

@Suite("HTTP writer")
struct HTTPWriterTests {
  private let writer = WriterBox()

  /// HTTPWriter cannot be copied, a suite's value is.
  private final class WriterBox {
    let writer = HTTPWriter(maxNumwant: 4, trackerID: Array("cafe0001".utf8))
  }

  /// The body that `write` makes, after checking its head.
  private func body(_ write: (inout HTTPResponseWriter) -> Void) -> [UInt8] {
    var response = HTTPResponseWriter(capacity: 16)
    write(&response)
    response.finish()
    let bytes = Array(response.finished)
    let text = String(decoding: bytes, as: UTF8.self)
    #expect(text.hasPrefix("HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: "))
    let end = (0..<bytes.count).first { bytes[$0...].starts(with: "\r\n\r\n".utf8) }!
    let body = Array(bytes[(end + 4)...])
    #expect(text.contains("Content-Length: \(body.count)\r\n"))
    return body
  }

  /// A reply whose peers are `v4` and `v6` addresses, with ids when the form wants them.
  private func reply(v4: [String], v6: [String], limit: Int = 4, form: ReplyForm) -> AnnounceReply {
    var reply = AnnounceReply()
    reply.peers = writer.writer.sink(limit: limit, form: form)
    for (index, host) in v4.enumerated() {
      IPAddress(host)!.store(to: reply.peers.v4.peers! + index * 6)
      (reply.peers.v4.peers! + index * 6).storeBytes(of: UInt16(6881).bigEndian, toByteOffset: 4, as: UInt16.self)
      if let ids = reply.peers.v4.ids { id("4", index).store(to: ids + index * 20) }
    }
    for (index, host) in v6.enumerated() {
      IPAddress(host)!.store(to: reply.peers.v6.peers! + index * 18)
      (reply.peers.v6.peers! + index * 18).storeBytes(of: UInt16(51413).bigEndian, toByteOffset: 16, as: UInt16.self)
      if let ids = reply.peers.v6.ids { id("6", index).store(to: ids + index * 20) }
    }
    (reply.peers.v4.count, reply.peers.v6.count) = (v4.count, v6.count)
    (reply.complete, reply.incomplete, reply.downloaded) = (5, 6, 7)
    (reply.intervalSeconds, reply.minIntervalSeconds) = (1800, 900)
    return reply
  }

  private func id(_ family: String, _ index: Int) -> PeerID {
    Array("-XX0000-\(family)0000000000\(index)".utf8).withUnsafeBytes { PeerID($0.baseAddress!) }
  }

  @Test("a compact reply has sorted keys, both families, the external address and the tracker id")
  func compact() throws {
    let reply = reply(v4: ["192.0.2.1"], v6: ["2001:db8::1"], form: [])
    let bytes = body { writer.writer.announce(reply, to: IPAddress("203.0.113.7")!, limit: 4, form: [], into: &$0) }
    var expected: [UInt8] = []
    expected += Array("d8:completei5e10:downloadedi7e11:external ip4:".utf8) + [203, 0, 113, 7]
    expected +=
      Array("10:incompletei6e8:intervali1800e12:min intervali900e5:peers6:".utf8) + [192, 0, 2, 1, 0x1a, 0xe1]
    expected += Array("6:peers618:".utf8) + addressBytes("2001:db8::1") + [0xc8, 0xd5]
    expected += Array("10:tracker id8:cafe0001e".utf8)
    #expect(bytes == expected)
    #expect(throws: Never.self) { try Bencode.decode(bytes) }
  }

  private func addressBytes(_ host: String) -> [UInt8] {
    let address = IPAddress(host)!
    return [UInt8](unsafeUninitializedCapacity: 16) { buffer, count in
      address.store(to: buffer.baseAddress!)
      count = address.byteCount
    }
  }

  @Test("without IPv6 peers there is no peers6; without any peers there is an empty list")
  func noPeers() throws {
    let reply = reply(v4: [], v6: [], form: [])
    let value = try Bencode.decode(
      body { writer.writer.announce(reply, to: IPAddress("2001:db8::9")!, limit: 4, form: [], into: &$0) })
    #expect(value["peers"]?.bytes == [])
    #expect(value["peers6"] == nil)
    #expect(value["external ip"]?.bytes?.count == 16)
  }

  @Test("a warning is shown beside the peers")
  func warning() throws {
    var reply = reply(v4: ["192.0.2.1"], v6: [], form: [])
    reply.warning = "slow down"
    let value = try Bencode.decode(
      body { writer.writer.announce(reply, to: IPAddress("192.0.2.9")!, limit: 4, form: [], into: &$0) })
    #expect(value["warning message"]?.text == "slow down")
    #expect(value["peers"]?.bytes?.count == 6)
  }

  @Test("a dictionary reply lists both families as text, with peer ids unless they are not wanted")
  func dictionaries() throws {
    for form in [ReplyForm.dictionary, [.dictionary, .withoutPeerIDs]] {
      let reply = reply(v4: ["192.0.2.1", "192.0.2.2"], v6: ["2001:db8::1"], form: form)
      let value = try Bencode.decode(
        body { writer.writer.announce(reply, to: IPAddress("192.0.2.9")!, limit: 4, form: form, into: &$0) })
      let peers = try #require(value["peers"]?.list)
      #expect(peers.compactMap { $0["ip"]?.text } == ["192.0.2.1", "192.0.2.2", "2001:db8::1"])
      #expect(peers.compactMap { $0["port"]?.integer } == [6881, 6881, 51413])
      let ids = peers.compactMap { $0["peer id"]?.bytes }
      #expect(ids == (form.contains(.withoutPeerIDs) ? [] : [id("4", 0), id("4", 1), id("6", 0)].map(\.bytes)))
      #expect(value["peers6"] == nil)
    }
  }

  @Test(
    "both families share the limit; the client's own comes first, a quarter is kept for the other",
    arguments: [
      (IPAddress.Family.v4, 4, 0, 4, 0), (.v4, 4, 4, 3, 1), (.v4, 2, 4, 2, 2), (.v4, 0, 4, 0, 4), (.v6, 4, 4, 1, 3),
      (.v6, 4, 1, 3, 1), (.v4, 1, 1, 1, 1),
    ])
  func shares(family: IPAddress.Family, v4: Int, v6: Int, v4Shown: Int, v6Shown: Int) {
    var sink = PeerSink()
    (sink.v4.count, sink.v6.count) = (v4, v6)
    #expect(HTTPWriter.shares(sink, of: family, limit: 4) == (v4Shown, v6Shown))
    #expect(HTTPWriter.shares(sink, of: family, limit: 0) == (0, 0))
  }

  @Test("every refusal is its reason, and one that may pass says when to come again", arguments: Refusal.allCases)
  func refusals(refusal: Refusal) throws {
    let bytes = body { writer.writer.refusal(refusal, into: &$0) }
    let value = try Bencode.decode(bytes)
    #expect(value["failure reason"]?.text == "\(refusal.text)")
    if let seconds = refusal.retryInSeconds {
      #expect(value["interval"]?.integer == Int64(seconds))
      #expect(value["min interval"]?.integer == Int64(seconds))
      #expect(value["retry in"]?.integer == Int64((seconds + 59) / 60))
    } else {
      #expect(bytes == Array("d14:failure reason\(refusal.text.utf8CodeUnitCount):\(refusal.text)e".utf8))
    }
  }

  @Test("a scrape reply is BEP 48's, with the downloaders of BEP 21")
  func scrape() {
    let bytes = body { response in
      writer.writer.beginScrape(into: &response)
      for character in ["a", "b"] {
        let infoHash = Array(String(repeating: character, count: 20).utf8).withUnsafeBytes { InfoHash($0.baseAddress!) }
        let counts = ScrapeCounts(complete: 1, downloaded: 22, downloaders: 300, incomplete: 333)
        writer.writer.scrapeEntry(infoHash, counts, into: &response)
      }
      writer.writer.endScrape(into: &response)
    }
    let counts = "d8:completei1e10:downloadedi22e11:downloadersi300e10:incompletei333ee"
    let (a, b) = (String(repeating: "a", count: 20), String(repeating: "b", count: 20))
    #expect(String(decoding: bytes, as: UTF8.self) == "d5:filesd20:\(a)\(counts)20:\(b)\(counts)ee")
  }

  @Test("the largest reply grows the buffer and fits it", arguments: [ReplyForm(), .dictionary])
  func largestReply(form: ReplyForm) throws {
    let most = 2000
    let large = HTTPWriter(maxNumwant: most, trackerID: [])
    var reply = AnnounceReply()
    reply.peers = large.sink(limit: most, form: form)
    memsetPeers(reply.peers, most)
    (reply.peers.v4.count, reply.peers.v6.count) = (most, most)
    (reply.complete, reply.incomplete, reply.downloaded) = (.max, .max, .max)
    (reply.intervalSeconds, reply.minIntervalSeconds) = (.max, .max)
    let value = try Bencode.decode(
      body { large.announce(reply, to: IPAddress("::1")!, limit: most, form: form, into: &$0) })
    let shown =
      form.contains(.dictionary)
      ? value["peers"]!.list!.count : value["peers"]!.bytes!.count / 6 + value["peers6"]!.bytes!.count / 18
    #expect(shown == most)
  }

  /// Fills all of the sink's room, the slack included, as the swarm may.
  private func memsetPeers(_ sink: PeerSink, _ count: Int) {
    for (start, stride) in [(sink.v4.peers, 6), (sink.v6.peers, 18), (sink.v4.ids, 20), (sink.v6.ids, 20)] {
      guard let start else { continue }
      for offset in 0..<(count * stride + PeerSink.slackBytes) {
        start.storeBytes(of: 0xab, toByteOffset: offset, as: UInt8.self)
      }
    }
  }
}
