// TorrentApproval: the hook `torrent approval`: which torrents may be announced, by static lists, by files and by a Redis
// set that is asked live. The lists are immutable; a reload makes a new hook.

import Settings
import Wire

/// By infohash. At most one of the lists has members, those of the files included.
struct TorrentApprovalOptions: HookOptions {
  static let name = "torrent approval"

  /// With what `whitelistFile` has, and so for the other.
  var whitelist: [InfoHash] = []
  var blacklist: [InfoHash] = []
  /// A live set of approved torrents (ours), members as 40 lower-case hex digits; nil: only the lists count.
  var redisSet: RedisSetOptions?

  static var settings: [Setting<Self>] {
    [
      .unsupported(
        "initial_source", "configuration",
        advice: "this is another Chihaya fork's form; write whitelist or blacklist with the infohashes"),
      .infoHashes("whitelist", \.whitelist, "the only torrents that may be announced, by info hash"),
      .infoHashFile("whitelist_file", \.whitelist, "the same, one info hash a line, read again on reload"),
      .infoHashes("blacklist", \.blacklist, "torrents that may not"),
      .infoHashFile("blacklist_file", \.blacklist, "the same, one info hash a line"),
      .group(\.redisSet, ifSet: "redis_broker"),
      .check { $1.refuseBothLists($0.whitelist, $0.blacklist) },
    ]
  }

  func make(_ chain: HookChain) throws -> (any AnnounceHook)? {
    TorrentApproval(self, resolver: try redisSet?.resolver(chain, hook: Self.name, member: "torrent"))
  }
}

extension Setting {
  fileprivate static func infoHashes(
    _ key: String, _ path: WritableKeyPath<Root, [InfoHash]>, _ meaning: String
  ) -> Setting {
    .list(
      key, path, .live, meaning, shown: { "\($0)" },
      convert: { text throws(ConfigComplaint) in
        guard let hash = InfoHash(hex: text) else {
          throw ConfigComplaint("expected an infohash of 40 hex digits, found \(text)")
        }
        return hash
      })
  }

  /// Adds what a file has to the list.
  fileprivate static func infoHashFile(
    _ key: String, _ path: WritableKeyPath<Root, [InfoHash]>, _ meaning: String
  ) -> Setting {
    Setting(key, path, .live, meaning) { section, listed in
      var infoHashes: [InfoHash] = []
      _ = section.optionalString(
        key, check: { path throws(ConfigComplaint) in infoHashes = try InfoHashFile.read(path) })
      return listed + infoHashes
    }
  }
}

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
    let infoHash = request.infoHash
    if blacklist.contains(infoHash) { return .refuse(.unapprovedInfoHash) }
    if whitelist.contains(infoHash) { return .proceed }
    guard let resolver else { return whitelist.isEmpty ? .proceed : .refuse(.unapprovedInfoHash) }
    return resolver.verdict(
      on: context.hasher.userKey(infoHash), nowSeconds: context.time.monotonicSeconds, from: request.source,
      refusal: .unapprovedInfoHash, .infoHash(infoHash))
  }
}
