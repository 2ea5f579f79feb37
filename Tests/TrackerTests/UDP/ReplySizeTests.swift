import Testing

@testable import Tracker

@Suite("reply sizes")
struct ReplySizeTests {
  @Test("the largest UDP replies fit their buffer and an Ethernet frame")
  func udp() {
    #expect(
      UDPWriter.announceHeadBytes + UDPWriter.maximumPeersV4 * 6 <= UDPWriter.maximumReplyBytesV4)
    #expect(UDPWriter.announceHeadBytes + UDPWriter.maximumPeersV6 * 18 <= UDPWriter.maximumReplyBytesV6)
    #expect(8 + UDPWriter.maximumScrapeInfoHashes * 12 <= UDPWriter.maximumReplyBytesV6)
    #expect(UDPWriter.maximumReplyBytesV4 + PeerSink.slackBytes <= UDPWriter.bufferBytes)
    for refusal in Refusal.allCases { #expect(8 + refusal.text.utf8CodeUnitCount <= UDPWriter.bufferBytes) }
  }
}
