// TorrentApproval: the hook `torrent approval`: which torrents may be announced, by static lists, by files and by a Redis
// set that is asked live. The lists are immutable; a reload makes a new hook.

import Wire

/// Which torrents may be announced.
final class TorrentApproval: AnnounceHook {
  private let whitelist: Set<InfoHash>
  private let blacklist: Set<InfoHash>
  private let resolver: MembershipResolver?

  /// A torrent on the black list is refused; one on the white list passes; otherwise the Redis set decides, where there
  /// is one, and else the mere presence of a white list does.
  init(_ options: TorrentApprovalOptions, resolver: MembershipResolver?) {
    whitelist = Set(options.whitelist)
    blacklist = Set(options.blacklist)
    self.resolver = resolver
  }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    if blacklist.contains(request.infoHash) { return .refuse(.unapprovedInfoHash) }
    if whitelist.contains(request.infoHash) { return .proceed }
    guard let resolver else { return whitelist.isEmpty ? .proceed : .refuse(.unapprovedInfoHash) }
    let key = context.hasher.userKey(request.infoHash)
    let question = MembershipQuestion(resolver: resolver, key: key, member: .infoHash(request.infoHash))
    switch resolver.cache.knowledge(of: key, nowSeconds: context.time.monotonicSeconds) {
    case .fresh(.approved): return .proceed
    case .fresh(.refused): return .refuse(.unapprovedInfoHash)
    case .stale(.approved): return .lookUp(question, otherwise: nil)
    case .stale(.refused), .nothing: return .lookUp(question, otherwise: .tryAgain)
    }
  }
}
