// ErrorBudget: how many errors a second go to senders that have not shown that they receive at their address. Owned by one
// worker's UDPFrontend, on its thread.
//
// Whoever can forge a sender chooses where such an error goes. An address (IPv4) or a network of 2^64 (IPv6, which one host
// may have all of) gets a few a second; addresses that share a place in the table, which nobody outside can choose, share
// what they get.

import CLinux
import Wire

/// Errors for unproven senders, by the second.
struct ErrorBudget {
  /// What a household or a small proxy needs when a restart has made all connection ids invalid: a client that got no
  /// error asks for a new one after 15 seconds (BEP 15).
  static let errorsPerSecond: UInt32 = 16
  /// 32 KB, in the second-level cache.
  static let places = 4096

  private struct Place {
    var second: UInt32 = 0
    var sent: UInt32 = 0
  }
  private var table = [Place](repeating: Place(), count: places)
  private let key: (UInt64, UInt64)

  init() {
    var key: (UInt64, UInt64) = (0, 0)
    let got = withUnsafeMutableBytes(of: &key) { getrandom($0.baseAddress, $0.count, 0) }
    precondition(got == 16, "getrandom gives up to 256 bytes at once")
    self.key = key
  }

  /// Whether one more may be sent in this second, which then counts.
  mutating func spend(on address: IPAddress, monotonicSeconds: UInt32) -> Bool {
    let place = Int(truncatingIfNeeded: hash(address)) & (Self.places - 1)
    if table[place].second != monotonicSeconds { table[place] = Place(second: monotonicSeconds) }
    guard table[place].sent < Self.errorsPerSecond else { return false }
    table[place].sent += 1
    return true
  }

  private func hash(_ address: IPAddress) -> UInt64 {
    withUnsafeTemporaryAllocation(byteCount: 16, alignment: 8) { bytes in
      bytes.storeBytes(of: 0, as: UInt64.self)
      address.store(to: bytes.baseAddress!)
      return SipHash.hash(UnsafeRawBufferPointer(rebasing: UnsafeRawBufferPointer(bytes)[..<8]), key: key)
    }
  }
}
