// PasskeyApproval: the hook `passkey approval`. Decides from the cache; what the cache does not know is looked up by the
// resolver's thread while the request is parked.

import Wire

/// Who may announce, by passkey.
final class PasskeyApproval: AnnounceHook {
  private let resolver: MembershipResolver

  init(resolver: MembershipResolver) { self.resolver = resolver }

  var guardsScrapes: Bool { true }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    guard let user = context.user, let passkey = request.passkey else { return .refuse(.missingPasskey) }
    switch resolver.cache.knowledge(of: user, nowSeconds: context.time.monotonicSeconds) {
    case .fresh(.approved): return .proceed
    case .fresh(.refused): return .refuse(.unapprovedPasskey)
    // Redis is away: whom the cache knows goes on.
    case .stale(.approved): return .lookUp(question(passkey, user), otherwise: nil)
    // A stale no may have become a yes.
    case .stale(.refused), .nothing: return .lookUp(question(passkey, user), otherwise: .tryAgain)
    }
  }

  private func question(_ passkey: Passkey, _ user: UserKey) -> MembershipQuestion {
    MembershipQuestion(resolver: resolver, key: user, member: .passkey(passkey))
  }
}
