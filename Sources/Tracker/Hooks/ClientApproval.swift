// ClientApproval: the hook `client approval`: white or black list of clients by how their peer ids begin. Immutable.

import Settings
import Wire

/// By the beginning of the peer id. A prefix without a dash also counts behind the peer id's leading dash, so that Chihaya's
/// client ids of six bytes (`TR2940` for `-TR2940-...`) work unchanged. At most one of the lists has members.
struct ClientApprovalOptions: HookOptions {
  static let name = "client approval"

  var whitelist: [String] = []
  var blacklist: [String] = []

  static var settings: [Setting<Self>] {
    [
      .texts(
        "whitelist", \.whitelist, .live, "the only clients that may announce: peer id prefixes", check: checkPrefix),
      .texts("blacklist", \.blacklist, .live, "clients that may not: peer id prefixes", check: checkPrefix),
      .check { $1.refuseBothLists($0.whitelist, $0.blacklist) },
    ]
  }

  /// A peer id has twenty bytes (BEP 3).
  private static func checkPrefix(_ text: String) throws(ConfigComplaint) {
    guard (1...20).contains(text.utf8.count) else {
      throw ConfigComplaint("expected the first 1 to 20 bytes of a peer id, such as TR2940 or -TR2940-, found \(text)")
    }
  }

  func make(_ chain: HookChain) -> (any AnnounceHook)? { ClientApproval(self) }
}

/// Which clients may announce.
final class ClientApproval: AnnounceHook {
  private let isWhitelist: Bool
  /// Prefixes by their first byte, so that an announce is compared with few of them.
  private let prefixes: [[[UInt8]]]

  /// A list entry is the beginning of the peer id, with or without the leading dash of Azureus-style ids (BEP 20), so
  /// Chihaya's six-byte client ids (`TR3000`) work as they are. At most one of the lists has members.
  init(_ options: ClientApprovalOptions) {
    isWhitelist = !options.whitelist.isEmpty
    var prefixes = [[[UInt8]]](repeating: [], count: 256)
    for entry in options.whitelist + options.blacklist {
      let bytes = Self.withoutDash(Array(entry.utf8))
      if let first = bytes.first { prefixes[Int(first)].append(bytes) }
    }
    self.prefixes = prefixes
  }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    isListed(request.peerID) == isWhitelist ? .proceed : .refuse(.unapprovedClient)
  }

  private func isListed(_ peerID: PeerID) -> Bool {
    withUnsafeTemporaryAllocation(byteCount: PeerID.byteCount, alignment: 8) { bytes in
      peerID.store(to: bytes.baseAddress!)
      let start = bytes[0] == UInt8(ascii: "-") ? 1 : 0
      for prefix in prefixes[Int(bytes[start])] {
        guard prefix.count <= PeerID.byteCount - start else { continue }
        var index = 0
        while index < prefix.count && prefix[index] == bytes[start + index] { index += 1 }
        if index == prefix.count { return true }
      }
      return false
    }
  }

  private static func withoutDash(_ bytes: [UInt8]) -> [UInt8] {
    bytes.first == UInt8(ascii: "-") ? Array(bytes.dropFirst()) : bytes
  }
}
