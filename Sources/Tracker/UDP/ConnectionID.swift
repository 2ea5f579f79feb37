// ConnectionID: the connection ids of BEP 15 without state: a time stamp and a keyed hash of it and the sender's address.
// Pure; each worker holds a copy with the same key.
//
//   bits 63...48  16 bits  seconds / 4 modulo 2^16 (wraps after three days, an id lives two minutes)
//   bits 47...0   48 bits  SipHash-2-4 of the address and the time stamp, cut
//
// What it is for: a sender that has shown that it receives at an address. Guessing needs 2^47 packets on average for one
// address; observing another host's id does not help, because the address is hashed with it. The key never leaves the
// process. (BEP 15: "the connection id should be hard to guess"; clients use one for a minute, servers accept it for two.)

import CLinux
import Wire

/// Makes and checks connection ids.
struct ConnectionID: Sendable {
  /// Two minutes, as BEP 15 wants a server to accept one.
  static let lifetimeSeconds: UInt64 = 120
  private static let secondsPerTick: UInt64 = 4

  private let key: (UInt64, UInt64)
  private let skewTicks: UInt16

  /// With a configured key (`private_key`), several trackers, or one before and after a restart, accept each other's ids.
  /// Without one the kernel makes it.
  init(privateKey: String?, maxClockSkewSeconds: UInt64) {
    skewTicks = UInt16(min((maxClockSkewSeconds + Self.secondsPerTick - 1) / Self.secondsPerTick, 1 << 12))
    guard let privateKey else {
      var key: (UInt64, UInt64) = (0, 0)
      let got = withUnsafeMutableBytes(of: &key) { getrandom($0.baseAddress, $0.count, 0) }
      precondition(got == 16, "getrandom gives up to 256 bytes at once")
      self.key = key
      return
    }
    // Two different hashes of the text make the 128 bits.
    let text = Array(privateKey.utf8)
    key = text.withUnsafeBytes {
      (SipHash.hash($0, key: (0x7074_2d74_7261_636b, 1)), SipHash.hash($0, key: (0x7074_2d74_7261_636b, 2)))
    }
  }

  /// The id for a sender, now.
  func make(for address: IPAddress, unixSeconds: Int64) -> UInt64 {
    let tick = Self.tick(unixSeconds)
    return UInt64(tick) << 48 | mac(address, tick)
  }

  /// Whether an id was made for this sender within the last two minutes.
  func isValid(_ id: UInt64, for address: IPAddress, unixSeconds: Int64) -> Bool {
    let tick = UInt16(truncatingIfNeeded: id >> 48)
    let age = Self.tick(unixSeconds) &- tick
    let isInTime = age <= UInt16(Self.lifetimeSeconds / Self.secondsPerTick) + skewTicks || (0 &- age) <= skewTicks
    return isInTime && id & 0xffff_ffff_ffff == mac(address, tick)
  }

  private static func tick(_ unixSeconds: Int64) -> UInt16 {
    UInt16(truncatingIfNeeded: UInt64(bitPattern: unixSeconds) / secondsPerTick)
  }

  private func mac(_ address: IPAddress, _ tick: UInt16) -> UInt64 {
    withUnsafeTemporaryAllocation(byteCount: 24, alignment: 8) { bytes in
      bytes.storeBytes(of: 0, as: UInt64.self)
      bytes.storeBytes(of: 0, toByteOffset: 8, as: UInt64.self)
      address.store(to: bytes.baseAddress!)
      bytes.storeBytes(of: UInt64(tick) << 8 | UInt64(address.family.rawValue), toByteOffset: 16, as: UInt64.self)
      return SipHash.hash(UnsafeRawBufferPointer(bytes), key: key) & 0xffff_ffff_ffff
    }
  }
}
