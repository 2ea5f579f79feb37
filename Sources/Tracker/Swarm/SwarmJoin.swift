// SwarmJoin: how a session that is new gets into its swarm: its user's budget is asked between two holds of the shard's lock,
// so that no two locks are held at once. On a worker's thread.

extension SwarmStore {
  /// Counts the session, lets it join, and sets right what came otherwise: another worker may have let the same one in
  /// meanwhile, or have ended the one whose place it takes.
  func join(
    _ announce: SwarmAnnounce, hash: UInt64, policy: SwarmPolicy, replaces: Bool, lottery: inout PeerLottery,
    into sink: inout PeerSink
  ) -> SwarmResult {
    let limit = budgets.join(announce.user, policy.limits, replaces: replaces, nowSeconds: announce.nowSeconds)
    if let limit {
      refusals.note(limit)
      return SwarmResult(limit: limit)
    }
    let result =
      applyIfThere(announce, hash: hash, policy: policy, mayJoin: true, lottery: &lottery, into: &sink)
      ?? announceFirst(announce, hash: hash, policy: policy, lottery: &lottery, into: &sink)
    if !result.joined { budgets.takeBack(announce.user, policy.limits) }
    if result.left > 0 { budgets.leave(announce.user, count: result.left) }
    return result
  }
}
