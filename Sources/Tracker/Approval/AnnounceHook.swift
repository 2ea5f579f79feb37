// AnnounceHook: one rule about who may announce, or one change to a reply; the `prehooks` and `posthooks` of the config,
// in their order. Shared by all workers, called on each worker's thread: implementations lock briefly or not at all and
// never wait for anything.

import Shared

/// What the hooks of one announce know and may change.
struct AnnounceContext {
  let time: BatchTime
  /// The user, when a passkey came along.
  let user: UserKey?
  /// Whether the request may wait for an answer from outside. When it may not, a hook decides with what it has.
  let mayPark: Bool
  /// What the reply will say, whole seconds.
  var intervalSeconds: UInt32
  var minIntervalSeconds: UInt32
}

/// A hook's decision.
enum HookVerdict {
  case proceed
  case refuse(Refusal)
  /// Only the outside knows: park the request and look its passkey up.
  case lookUpPasskey
}

/// A rule of the config.
protocol AnnounceHook: AnyObject, Sendable {
  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict
}
