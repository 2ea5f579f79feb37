// IntervalVariation: the hook `interval variation`: some replies get longer intervals, so that announces that came at the
// same moment come back spread out. Immutable.
//
// The draw is a hash of peer and minute, as with Chihaya a function of the request: no state, no lock.

import Settings
import Wire

/// How many replies get a longer interval, and how much longer.
struct IntervalVariationOptions: HookOptions {
  static let name = "interval variation"

  /// Above 0, at most 1.
  var modifyResponseProbability = 0.0
  /// 1 to this many seconds are added.
  var maxIncreaseDeltaSeconds = 0
  /// Whether `min interval` grows by the same.
  var modifyMinInterval = false

  static var settings: [Setting<Self>] {
    [
      .fraction(
        "modify_response_probability", \.modifyResponseProbability, .live, "the part of replies with a longer interval",
        standard: "needed"),
      .integer(
        "max_increase_delta", \.maxIncreaseDeltaSeconds, in: 0...86_400, .live, "the most seconds that are added",
        standard: "needed"),
      .bool("modify_min_interval", \.modifyMinInterval, .live, "the minimum, too"),
      .check { options, section in
        if options.modifyResponseProbability == 0 {
          section.refuse("modify_response_probability", "expected a number above 0, at most 1, such as 0.2")
        }
        if options.maxIncreaseDeltaSeconds == 0 {
          section.refuse("max_increase_delta", "expected a number of seconds from 1 to 86400")
        }
      },
    ]
  }

  func make(_ chain: HookChain) -> (any AnnounceHook)? { IntervalVariation(self) }
}

/// Spreads announces over time.
final class IntervalVariation: AnnounceHook {
  /// The probability as a bound for a 32-bit draw.
  private let threshold: UInt64
  private let maximumDelta: UInt64
  private let modifiesMinInterval: Bool

  init(_ options: IntervalVariationOptions) {
    threshold = UInt64(options.modifyResponseProbability * Double(1 << 32 as UInt64))
    maximumDelta = UInt64(clamping: options.maxIncreaseDeltaSeconds)
    modifiesMinInterval = options.modifyMinInterval
  }

  func check(_ request: borrowing AnnounceRequest, _ context: inout AnnounceContext) -> HookVerdict {
    let minute = UInt64(bitPattern: context.time.unixSeconds) / 60
    let words = request.peerID.words
    let draw = context.hasher.hash(
      PeerID(words: (words.0 ^ request.infoHash.words.0, words.1 ^ minute, words.2 ^ request.infoHash.words.2)))
    guard draw >> 32 < threshold, maximumDelta > 0 else { return .proceed }
    let delta = UInt32(truncatingIfNeeded: ((draw & 0xffff_ffff) &* maximumDelta) >> 32) &+ 1
    context.intervalSeconds &+= delta
    if modifiesMinInterval { context.minIntervalSeconds &+= delta }
    return .proceed
  }
}
