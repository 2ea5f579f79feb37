// AnnounceHook: one rule about who may announce, or one change to a reply; the `prehooks` and `posthooks` of the config,
// in their order. Shared by all workers, called on each worker's thread: implementations lock briefly or not at all and
// never wait for anything.

/// What the hooks of one announce know and may change.
struct AnnounceContext {
  let time: BatchTime
  /// The user, when a passkey came along.
  let user: UserKey?
  /// The hash for everything but users.
  let hasher: KeyedHash
  /// What the reply will say, whole seconds.
  var intervalSeconds: UInt32
  var minIntervalSeconds: UInt32
}

/// A hook's decision.
enum HookVerdict {
  case proceed
  case refuse(Refusal)
  /// Only Redis knows: have it looked up while the request is parked. When that has been done and gave no answer,
  /// `otherwise` is the decision: a refusal, or nil to let it pass.
  case lookUp(MembershipQuestion, otherwise: Refusal?)
}

/// A rule of the config.
protocol AnnounceHook: AnyObject, Sendable {
  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict
  /// Whether `check` is asked about scrapes, too. Of their request only `passkey` has a meaning.
  var guardsScrapes: Bool { get }
}

extension AnnounceHook {
  var guardsScrapes: Bool { false }
}
