// Announces: what a client says, which trackers hear it, and what of it is the truth.

import Simulation
import Wire

@testable import Tracker

extension World {
  func announce(_ index: Int, _ how: Step.Announcing) {
    let index = index % clients.count
    var client = clients[index]
    let serving = trackers.filter(\.isServing)
    guard !serving.isEmpty else { return }
    // As a rule a client does not begin anew within the time by which clocks are allowed to differ.
    if how != .again, let last = client.last, Self.wall(now) < last.at + Self.clockTolerance {
      let distance = site.isHasty ? Self.hasteNanoseconds : Self.clockTolerance
      if trackers.count > 1, site.isHasty { trouble.note(.reported) }
      if Self.wall(now) < last.at + distance {
        pass(nanoseconds: last.at + distance - Self.wall(now))
        return announce(index, how)
      }
    }
    if how == .again {
      if let last = client.last { deliver(client, last.event, to: serving) }
      return
    }
    var how = how
    // By the way of its last announce.
    let isAtHome =
      trackers.count == 1
      || (client.reach == .first || client.reach == .dualStack)
        && client.last.map { $0.tracker == home(of: client, serving).index } ?? true
    if how == .restart, !isAtHome, !site.restartsWander { how = .restartAnew }
    if how == .restartAnew { client.name.peer += site.clients }
    let before = client.isStarted
    let event = client.advance(how, &random)
    // A client that was there before a restart with another peer id is another session: its first life is from zero too.
    if how == .restartAnew { client.life = 0 }
    if how == .stop, !before { clients[index] = client }
    deliver(client, event, to: serving)
  }

  func deliver(_ client: SimulatedClient, _ event: TrueEvent, to serving: [SimulatedTracker]) {
    var targets: [SimulatedTracker]
    switch client.reach {
    case .first: targets = [home(of: client, serving)]
    case .any: targets = [serving[random.below(serving.count)]]
    case .all: targets = serving
    case .dualStack: targets = [home(of: client, serving), home(of: client, serving)]
    }
    var client = client
    for (turn, tracker) in targets.enumerated() {
      if turn > 0 { now += jitter(1_000_000...40_000_000) }
      var announce = TrueAnnounce(
        session: client.name, life: client.life, uploaded: client.uploaded, downloaded: client.downloaded,
        left: client.left, event: event, at: Self.wall(now), interval: Self.intervalSeconds, tracker: tracker.index)
      let record = self.record(client, event, by: tracker, isV6: client.reach == .dualStack && turn == 1)
      // One that says what another of its second said may be that one, given back or by another tracker.
      let isTwin = client.last.map { $0.isAlike(announce) } ?? false
      announce.isExcused = !tracker.enqueue(record) || site.countsAnnounces && isTwin
      truth.add(announce)
      client.last = announce
      trace {
        "\(announce.session) to tracker \(tracker.index): \(event.rawValue) up \(announce.uploaded) down \(announce.downloaded)"
      }
    }
    if client.index < clients.count { clients[client.index] = client }
  }

  /// The tracker that a client goes to, or another while that does not serve.
  private func home(of client: SimulatedClient, _ serving: [SimulatedTracker]) -> SimulatedTracker {
    let own = client.reach == .first ? client.index % trackers.count : 0
    return serving.first { $0.index == own } ?? serving[0]
  }

  private func record(_ client: SimulatedClient, _ event: TrueEvent, by tracker: SimulatedTracker, isV6: Bool)
    -> AnnounceRecord
  {
    let events: [TrueEvent: AnnounceEvent] = [
      .none: .none, .started: .started, .completed: .completed, .stopped: .stopped,
    ]
    return AnnounceRecord(
      passkey: Passkey(Self.passkey(client.name.user))!, infoHash: Self.infoHash(client.name.torrent),
      peerID: Self.peerID(client.name.peer),
      address: IPAddress(isV6 ? "2001:db8::\(client.index + 1)" : "192.0.2.\(client.index + 1)")!,
      port: UInt16(50_000 + client.index), event: events[event]!, uploaded: client.uploaded,
      downloaded: client.downloaded, left: client.left, timestamp: Int64(tracker.wallNanoseconds / 1_000_000_000),
      intervalSeconds: UInt32(Self.intervalSeconds), minIntervalSeconds: 900)
  }

  static func passkey(_ user: Int) -> String { "user\(user)" }
  static func infoHash(_ torrent: Int) -> InfoHash { InfoHash(words: (UInt64(torrent), 0, 7)) }
  static func peerID(_ peer: Int) -> PeerID { PeerID(words: (UInt64(peer), 1, 2)) }

  /// Who an entry is of.
  func session(_ entry: ModelStream.Entry) -> SessionName? {
    guard entry.fields.count > 5, let user = Int(String(decoding: entry.fields[1].dropFirst(4), as: UTF8.self)),
      let torrent = InfoHash(hex: String(decoding: entry.fields[3], as: UTF8.self)),
      let peer = PeerID(hex: String(decoding: entry.fields[5], as: UTF8.self))
    else { return nil }
    return SessionName(user: user, torrent: Int(torrent.words.0), peer: Int(peer.words.0))
  }
}
