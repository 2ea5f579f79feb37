// SwarmModel: what SwarmStore must do, said as simply as possible: dictionaries and sets, one step at a time.

import Wire

@testable import Tracker

/// A slow swarm store.
struct SwarmModel {
  struct Session {
    var v4: Address?
    var v6: Address?
    var isSeeder: Bool
    var isPartialSeed = false
    /// More than this must be downloaded before nothing is left, for that to be a snatch.
    var goal: UInt64?
    var mayComplete = false
  }
  struct Address: Hashable {
    var address: IPAddress
    var port: UInt16
    var seenSeconds: UInt32
  }
  struct Key: Hashable {
    var user: UInt64
    var peerID: PeerID
  }

  var swarms: [InfoHash: [Key: Session]] = [:]
  var snatchers: [InfoHash: Set<UInt64>] = [:]

  mutating func announce(_ announce: SwarmAnnounce, policy: SwarmPolicy) -> Bool {
    let key = Key(user: announce.user, peerID: announce.peerID)
    var swarm = swarms[announce.infoHash] ?? [:]
    defer { swarms[announce.infoHash] = swarm.isEmpty ? nil : swarm }
    if announce.event == .stopped {
      if var session = swarm[key] { note(announce, of: &session, begins: false) }
      swarm[key] = nil
      return true
    }
    let isNew = swarm[key] == nil
    if swarm[key] == nil && !makeRoom(for: announce, in: &swarm, policy: policy) { return false }
    var session = swarm[key] ?? Session(isSeeder: announce.isSeeder)
    session.isSeeder = announce.isSeeder
    let address = Address(address: announce.address, port: announce.port, seenSeconds: announce.nowSeconds)
    if announce.address.family == .v4 { session.v4 = address } else { session.v6 = address }
    note(announce, of: &session, begins: isNew || announce.event == .started)
    swarm[key] = session
    return true
  }

  private mutating func note(_ announce: SwarmAnnounce, of session: inout Session, begins: Bool) {
    session.isPartialSeed = announce.isPartialSeed && announce.left > 0
    if announce.left > 0 {
      if begins || session.goal == nil { session.goal = announce.downloaded + announce.left / 2 }
      session.mayComplete = true
      return
    }
    if begins { (session.goal, session.mayComplete) = (nil, announce.downloaded > 0) }
    let isSnatch =
      announce.event == .completed ? session.mayComplete : session.goal.map { announce.downloaded > $0 } ?? false
    if isSnatch {
      session.goal = nil
      snatchers[announce.infoHash, default: []].insert(announce.user)
    }
  }

  private func makeRoom(
    for announce: SwarmAnnounce, in swarm: inout [Key: Session], policy: SwarmPolicy
  ) -> Bool {
    let others = swarm.filter { $0.key.user == announce.user }
    func lastSeen(_ session: Session) -> UInt32 { max(session.v4?.seenSeconds ?? 0, session.v6?.seenSeconds ?? 0) }
    let ghost = others.first {
      let address = announce.address.family == .v4 ? $0.value.v4 : $0.value.v6
      return address?.address == announce.address && address?.port == announce.port
    }
    if let ghost {
      swarm[ghost.key] = nil
    } else if others.count >= policy.maxPeersPerUser {
      guard let silent = others.min(by: { lastSeen($0.value) < lastSeen($1.value) }),
        announce.nowSeconds - lastSeen(silent.value) > policy.overdueSeconds
      else { return false }
      swarm[silent.key] = nil
    }
    return true
  }

  mutating func expire(before cutoff: UInt32) {
    for (infoHash, swarm) in swarms {
      var kept = swarm
      for (key, session) in swarm {
        var session = session
        if let seen = session.v4?.seenSeconds, seen < cutoff { session.v4 = nil }
        if let seen = session.v6?.seenSeconds, seen < cutoff { session.v6 = nil }
        kept[key] = session.v4 == nil && session.v6 == nil ? nil : session
      }
      swarms[infoHash] = kept.isEmpty ? nil : kept
    }
  }

  func counts(_ infoHash: InfoHash) -> ScrapeCounts {
    let swarm = swarms[infoHash] ?? [:]
    let seeders = swarm.values.count { $0.isSeeder }
    return ScrapeCounts(
      complete: UInt32(seeders), downloaded: UInt32(snatchers[infoHash]?.count ?? 0),
      downloaders: UInt32(swarm.values.count { !$0.isSeeder && !$0.isPartialSeed }),
      incomplete: UInt32(swarm.count - seeders))
  }

  /// Who may appear in the reply to an announce, as compact bytes.
  func listed(for announce: SwarmAnnounce, _ family: IPAddress.Family, policy: SwarmPolicy) -> Set<[UInt8]> {
    var result: Set<[UInt8]> = []
    for (key, session) in swarms[announce.infoHash] ?? [:] {
      if key.user == announce.user && (policy.excludeOwnPeers || key.peerID == announce.peerID) { continue }
      if announce.isSeeder && session.isSeeder { continue }
      guard let entry = family == .v4 ? session.v4 : session.v6 else { continue }
      result.insert(Self.compact(entry.address, entry.port))
    }
    return result
  }

  static func compact(_ address: IPAddress, _ port: UInt16) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: address.byteCount)
    bytes.withUnsafeMutableBytes { address.store(to: $0.baseAddress!) }
    return bytes + [UInt8(port >> 8), UInt8(truncatingIfNeeded: port)]
  }
}
