// PortApproval: the hook `port approval`: ports on which no client may listen, because providers slow them down or
// because other services live there. Immutable.

import Settings

/// Listening ports that are refused (ours).
struct PortApprovalOptions: HookOptions {
  static let name = "port approval"

  var blacklist: [ClosedRange<UInt16>] = []

  static var settings: [Setting<Self>] {
    [
      .list(
        "blacklist", \.blacklist, .live, "ports on which no client may listen, and ranges such as `6881-6889`",
        shown: { $0.count == 1 ? "\($0.lowerBound)" : "\($0.lowerBound)-\($0.upperBound)" }, convert: range)
    ]
  }

  private static func range(_ text: String) throws(ConfigComplaint) -> ClosedRange<UInt16> {
    let bounds = text.split(separator: "-", omittingEmptySubsequences: false).map { UInt16($0) }
    guard let low = bounds[0], let high = bounds[bounds.count - 1], bounds.count <= 2, 1 <= low, low <= high else {
      throw ConfigComplaint("expected a port or a range such as 6881-6889, found \(text)")
    }
    return low...high
  }

  func make(_ chain: HookChain) -> (any AnnounceHook)? { PortApproval(self) }
}

/// Which listening ports are refused.
final class PortApproval: AnnounceHook {
  /// One bit for each port.
  private let refused: [UInt64]

  init(_ options: PortApprovalOptions) {
    var refused = [UInt64](repeating: 0, count: 1024)
    for range in options.blacklist {
      for port in range { refused[Int(port) / 64] |= 1 << UInt64(port % 64) }
    }
    self.refused = refused
  }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    let port = Int(request.port)
    return refused[port / 64] & 1 << UInt64(port % 64) == 0 ? .proceed : .refuse(.unapprovedPort)
  }
}
