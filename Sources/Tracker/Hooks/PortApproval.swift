// PortApproval: the hook `port approval`: ports on which no client may listen, because providers slow them down or
// because other services live there. Immutable.

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
