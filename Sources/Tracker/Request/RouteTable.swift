// RouteTable: matches request paths against the configured announce and scrape routes, and finds the passkey in them.
// Used by the HTTP parser for request targets and by the UDP parser for BEP 41 URL data. Pure; bytes in, ranges out.

/// The configured routes, such as `/announce/:passkey` (`:name` matches one non-empty segment).
struct RouteTable: Sendable {
  enum Action: Sendable {
    case announce
    case scrape
  }

  /// A matched route. `passkey` is the range of the `:passkey` segment in the path, still percent-encoded.
  struct Match {
    let action: Action
    let passkey: Range<Int>?
  }

  private enum Segment: Sendable, Equatable {
    case literal([UInt8])
    case parameter(isPasskey: Bool)
  }
  private struct Route: Sendable {
    let action: Action
    let segments: [Segment]
  }
  private let routes: [Route]

  /// Routes begin with `/`; they are tried in the order given, announce routes first.
  init(announceRoutes: [String], scrapeRoutes: [String]) {
    routes =
      announceRoutes.map { Route(action: .announce, segments: Self.segments(of: $0)) }
      + scrapeRoutes.map { Route(action: .scrape, segments: Self.segments(of: $0)) }
  }

  private static func segments(of pattern: String) -> [Segment] {
    pattern.dropFirst().split(separator: "/", omittingEmptySubsequences: false).map { part in
      part.hasPrefix(":") ? .parameter(isPasskey: part == ":passkey") : .literal(Array(part.utf8))
    }
  }

  /// Whether no scrape route is without `:passkey`: then strangers have no counts.
  static func scrapeNeedsPasskey(_ scrapeRoutes: [String]) -> Bool {
    scrapeRoutes.allSatisfy { segments(of: $0).contains(.parameter(isPasskey: true)) }
  }

  /// The route of a path (without its query), or nil.
  func match(_ path: UnsafeRawBufferPointer) -> Match? {
    guard let first = path.first, first == UInt8(ascii: "/") else { return nil }
    for route in routes {
      var passkey: Range<Int>?
      if Self.matches(route.segments, path, passkey: &passkey) { return Match(action: route.action, passkey: passkey) }
    }
    return nil
  }

  private static func matches(_ segments: [Segment], _ path: UnsafeRawBufferPointer, passkey: inout Range<Int>?) -> Bool
  {
    var start = 1
    for index in segments.indices {
      // The path must have a segment left: `start` is one past the end after its last.
      if start > path.count { return false }
      var end = start
      while end < path.count && path[end] != UInt8(ascii: "/") { end += 1 }
      switch segments[index] {
      case .literal(let text):
        guard text.count == end - start else { return false }
        for offset in 0..<text.count where text[offset] != path[start + offset] { return false }
      case .parameter(let isPasskey):
        guard end > start else { return false }
        if isPasskey { passkey = start..<end }
      }
      start = end + 1
    }
    // Everything is used up; one trailing slash is forgiven.
    return start == path.count + 1 || (start == path.count && path[path.count - 1] == UInt8(ascii: "/"))
  }
}
