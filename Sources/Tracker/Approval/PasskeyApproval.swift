// PasskeyApproval: the hook `passkey approval`. Decides from the cache; what the cache does not know is looked up by the
// resolver thread while the request is parked.

import Shared

/// Who may announce, by passkey.
final class PasskeyApproval: AnnounceHook {
  let cache: ApprovalCache

  init(cache: ApprovalCache) { self.cache = cache }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    guard let user = context.user else { return .refuse(.missingPasskey) }
    switch cache.knowledge(of: user, nowSeconds: context.time.monotonicSeconds) {
    case .fresh(.approved): return .proceed
    case .fresh(.refused): return .refuse(.unapprovedPasskey)
    case .stale(let verdict):
      if context.mayPark { return .lookUpPasskey }
      // Redis is away: whom the cache knows goes on; a stale no may have become a yes, so it says "try again".
      return verdict == .approved ? .proceed : .refuse(.tryAgain)
    case .nothing:
      return context.mayPark ? .lookUpPasskey : .refuse(.tryAgain)
    }
  }
}
