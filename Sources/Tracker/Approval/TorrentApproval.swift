// TorrentApproval: the hook `torrent approval`: white or black list of info hashes. Immutable.

import Shared

/// Which torrents may be announced.
final class TorrentApproval: AnnounceHook {
  private let isWhitelist: Bool
  private let infoHashes: Set<InfoHash>

  /// At most one of the lists has members.
  init(_ options: TorrentApprovalOptions) {
    isWhitelist = !options.whitelist.isEmpty
    infoHashes = Set(options.whitelist + options.blacklist)
  }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    infoHashes.contains(request.infoHash) == isWhitelist ? .proceed : .refuse(.unapprovedInfoHash)
  }
}
