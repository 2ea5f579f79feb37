// UDPAttacks: what one datagram can do, and what clients say over UDP that no BEP has.

import Linux
import Simulation
import Wire

extension AttackScenario {
  static let udpAttacks = [errorLoop, habits]

  /// One datagram as if tracker A had sent it to tracker B.
  private static let errorLoop = AttackScenario(name: "udp error loop") { attack in
    var settings = SiteSettings()
    settings.approvesPasskeys = false
    let other = try Site(settings)
    try await other.redis.start()
    try await other.startTracker()
    let spoofing = try SpoofingSocket()
    let spoofed = 20
    for number in 0..<spoofed {
      // A bad connection id, and an action that may be a request or is a reply: an error of 25 bytes and more.
      let datagram =
        [UInt8](repeating: 0xee, count: 8) + [0, 0, 0, UInt8(number % 4)] + [UInt8](repeating: 1, count: 30)
      try spoofing.send(from: attack.site.endpoints.udpPort, to: other.endpoints.udpPort, datagram)
    }
    try await attack.pause(attack.seconds / 2)
    let name = "chihaya_udp_response_duration_milliseconds_count"
    let answers =
      try attack.metric(name, "bad connection ID") + attack.metric(name, "bad connection ID", port: other.metricsPort)
    if answers > Double(spoofed) { attack.wrongs.append("two trackers answer each other") }
    _ = try await other.tracker?.terminate()
    return "\(spoofed) forged datagrams between two trackers, \(Int(answers)) errors came of them"
  }

  /// What clients send that is in no BEP: each is answered, and its bytes are credited.
  private static let habits = AttackScenario(name: "habits of clients") { attack in
    let user = "hab17s"
    try attack.site.approve([user])
    let peer = "info_hash=aaaaaaaaaaaaaaaaaaaa&peer_id=bbbbbbbbbbbbbbbbbbbb&port=6881&downloaded=0"
    let habits = [
      "left=-1&event=started", "left=18446744073709551615", "left=9223372036854775807&event=", "left=5&event=empty",
      "left=5&event=paused", "left=5&event=resumed", "left=5&event=STOPPED",
    ]
    for (number, habit) in habits.enumerated() {
      let uploaded = UInt64(number) * 1000
      let target = "/announce/\(user)?\(peer)&uploaded=\(uploaded)&\(habit)"
      let reply = try Site.get(port: attack.site.endpoints.httpPort, target)
      if case .failure(let reason) = try HTTPAnnounceClient.outcome(reply.body) {
        attack.wrongs.append("\(habit): \(reason)")
      }
      attack.owed[user] = uploaded
    }
    // Over UDP: event 4 (libtorrent's `paused`), and one that nobody has a name for.
    let udpUser = "hab17su"
    try attack.site.approve([udpUser])
    guard let socket = AttackSocket(from: "127.0.0.2", to: .v4(attack.site.endpoints.udpPort), udp: true),
      let id = socket.connectionID()
    else { throw HarnessError("no connection id") }
    for (number, event) in ([4, 4, 77, 3] as [UInt8]).enumerated() {
      let url = Array("/announce/\(udpUser)".utf8)
      var datagram = id + [0, 0, 0, 1, 0, 0, 0, 9] + [UInt8](repeating: 7, count: 40)
      datagram += [UInt8](repeating: 0, count: 8) + [0, 0, 0, 0, 0, 0, 1, 0]
      datagram += [0, 0, 0, 0, 0, 0, UInt8(number), 0, 0, 0, 0, event] + [UInt8](repeating: 0, count: 12)
      datagram += [0x1a, 0xe1, 2, UInt8(url.count)] + url
      socket.send(datagram)
      if socket.receive()?[3] != 1 { attack.wrongs.append("UDP event \(event) is refused") }
      attack.owed[udpUser] = UInt64(number) * 256
    }
    return "\(habits.count + 4) announces that no BEP has"
  }
}
