import Testing
import Wire

@testable import Tracker

@Suite("UDP connection ids")
struct ConnectionIDTests {
  let sender = IPAddress("192.0.2.7")!
  let made: Int64 = 1_700_000_000

  @Test("SipHash gives the reference values")
  func reference() {
    // Appendix A of the SipHash paper: key 00..0f, message 00..0e.
    let key: (UInt64, UInt64) = (0x0706_0504_0302_0100, 0x0f0e_0d0c_0b0a_0908)
    let message = (0..<15).map { UInt8($0) }
    #expect(message.withUnsafeBytes { SipHash.hash($0, key: key) } == 0xa129_ca61_49be_45e5)
  }

  @Test("an id holds for its sender and for two minutes plus the skew")
  func lifetime() {
    let ids = ConnectionID(privateKey: nil, maxClockSkewSeconds: 8)
    let id = ids.make(for: sender, unixSeconds: made)
    #expect(ids.isValid(id, for: sender, unixSeconds: made))
    #expect(ids.isValid(id, for: sender, unixSeconds: made + 128))
    #expect(!ids.isValid(id, for: sender, unixSeconds: made + 132))
    #expect(ids.isValid(id, for: sender, unixSeconds: made - 8), "another tracker's clock may be ahead")
    #expect(!ids.isValid(id, for: sender, unixSeconds: made - 12))
    #expect(!ids.isValid(id, for: IPAddress("192.0.2.8")!, unixSeconds: made))
    #expect(!ids.isValid(id ^ 1, for: sender, unixSeconds: made))
    #expect(!ids.isValid(id ^ 1 << 63, for: sender, unixSeconds: made))
  }

  @Test("trackers with the same private key accept each other's ids, others do not")
  func sharedKey() {
    let first = ConnectionID(privateKey: "a key", maxClockSkewSeconds: 8)
    let second = ConnectionID(privateKey: "a key", maxClockSkewSeconds: 8)
    let other = ConnectionID(privateKey: "b key", maxClockSkewSeconds: 8)
    let id = first.make(for: sender, unixSeconds: made)
    #expect(second.isValid(id, for: sender, unixSeconds: made))
    #expect(!other.isValid(id, for: sender, unixSeconds: made))
  }

  @Test("an id for the IPv6 form of a mapped address is the IPv4 one's")
  func mapped() {
    let ids = ConnectionID(privateKey: nil, maxClockSkewSeconds: 8)
    let id = ids.make(for: sender, unixSeconds: made)
    #expect(ids.isValid(id, for: IPAddress("::ffff:192.0.2.7")!, unixSeconds: made))
  }
}
