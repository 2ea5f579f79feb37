// HookRegistry: the kinds of hook there are. A new one is a file in Hooks and a line here; `traffic push` lies in a folder of
// its own, which knows nothing of hooks. Main thread.

enum HookRegistry {
  /// In the order in which messages name them.
  static let kinds: [any HookOptions.Type] = [
    PasskeyApprovalOptions.self, TrafficPushOptions.self, ClientApprovalOptions.self, TorrentApprovalOptions.self,
    PortApprovalOptions.self, IntervalVariationOptions.self, PeerLimitOptions.self,
  ]
}

extension TrafficPushOptions: HookOptions {
  static let name = "traffic push"

  /// It asks nothing: the pipelines hand it what was accepted.
  func make(_ chain: HookChain) throws -> (any AnnounceHook)? {
    _ = try chain.service(Self.name) { try TrafficPush(options: self, metrics: chain.metrics) }
    return nil
  }
}

extension TrafficPush: HookService {
  func stop() { shutdown() }

  var trouble: String? {
    let troubles = troubles
    return troubles.isEmpty ? nil : troubles.joined(separator: "; ")
  }
}
