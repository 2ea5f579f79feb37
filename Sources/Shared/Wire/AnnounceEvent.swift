// AnnounceEvent: the event of an announce, with the numbers of BEP 15 and the words of BEP 3 and the stream.

/// What a client says happened. Raw values are BEP 15's.
public enum AnnounceEvent: UInt8, Sendable, CaseIterable {
  case none = 0
  case completed = 1
  case started = 2
  case stopped = 3

  /// The word of BEP 3 and of the stream's `event` field; `none` for a regular announce.
  public var text: String {
    switch self {
    case .none: "none"
    case .completed: "completed"
    case .started: "started"
    case .stopped: "stopped"
    }
  }

  /// The event of a word, or nil.
  public init?(text: some StringProtocol) {
    guard let event = Self.allCases.first(where: { $0.text == text }) else { return nil }
    self = event
  }
}
