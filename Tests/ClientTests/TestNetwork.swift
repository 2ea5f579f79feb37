// TestNetwork: the addresses Tests/ClientTests/run gives to the loopback device of its network namespace. Pure.

import Foundation
import Simulation
import Testing
import Wire

/// Who lives where: the last part of an address.
enum TestHost: Int {
  case tracker = 1
  case transmission = 2
  case aria2 = 3
  case qBittorrent = 4
  case rTorrent = 5
  case deluge = 6
  case libtorrent = 7

  /// Not 127.0.0.0/8 and ::1: Transmission refuses peers there (its `isMartianAddr`).
  func address(_ family: IPAddress.Family) -> String {
    family == .v4 ? "10.99.0.\(rawValue)" : "fd99::\(rawValue)"
  }
}

/// What the run script says.
enum TestNetwork {
  static let isThere = ProcessInfo.processInfo.environment["PT_CLIENT_TESTS"] == "1"
  static let reason = "real clients need packages and a network namespace of their own: make test-clients"
  /// Has both of the tracker's addresses in /etc/hosts.
  static let trackerName = "tracker.test"
}

/// How a client reaches the tracker.
enum Transport: String, CaseIterable, CustomTestStringConvertible {
  case httpV4, httpV6, udpV4, udpV6

  var isUDP: Bool { self == .udpV4 || self == .udpV6 }
  var family: IPAddress.Family { self == .httpV4 || self == .udpV4 ? .v4 : .v6 }
  var testDescription: String { "\(isUDP ? "UDP" : "HTTP") over \(family == .v4 ? "IPv4" : "IPv6")" }

  /// The same family over HTTP: what a site lists behind a UDP tracker.
  var overHTTP: Transport { family == .v4 ? .httpV4 : .httpV6 }

  /// The announce URL a site writes into a user's torrents.
  func announceURL(passkey: String, _ endpoints: TrackerEndpoints) -> String {
    let address = TestHost.tracker.address(family)
    let host = family == .v4 ? address : "[\(address)]"
    return isUDP
      ? "udp://\(host):\(endpoints.udpPort)/announce/\(passkey)"
      : "http://\(host):\(endpoints.httpPort)/announce/\(passkey)"
  }
}
