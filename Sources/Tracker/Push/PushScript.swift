// PushScript: the server-side scripts that turn a batch of announces into stream entries and snapshots, and that give them
// back to a Redis that has lost them, and of the one that keeps the trackers' clock. Their texts are Scripts/*.lua, part of the binary; this is what Swift knows of them,
// the reply included. A Swift model of push.lua is in the tests. Pure.

import Redis
import Wire

/// The Lua scripts of `traffic push` (Redis EVALSHA). Keys, arguments, replies and layouts are described where they are
/// read: in common.lua, push.lua and restore.lua.
enum PushScript {
  enum Name: Equatable {
    /// Applies records.
    case push
    /// Gives applied records back.
    case restore

    /// For SCRIPT LOAD.
    var text: String { self == .push ? PushScript.text : PushScript.restoreText }
  }

  /// push.lua.
  static let text = script(PackageResources.push_lua)
  /// restore.lua.
  static let restoreText = script(PackageResources.restore_lua)

  /// clock.lua.
  static let clockText = String(decoding: PackageResources.clock_lua, as: UTF8.self)

  private static func script(_ body: [UInt8]) -> String {
    String(decoding: PackageResources.common_lua + body, as: UTF8.self)
  }

  /// The arguments of push.lua besides the keys.
  static let headerArguments = 14
  /// The event of a `stopped` whose session is not in the swarm.
  static let gone = "gone"
  /// The largest counter that is accepted: Lua's numbers are doubles.
  static let maximumBytes = TrafficEvent.maximumBytes
  /// Microseconds in a tick of `order`: its six bytes last until 2112, and no client announces twice within one.
  static let orderTickMicroseconds: UInt64 = 16
  /// What a time may be, or a shift either way: what Lua's numbers hold exactly, three centuries.
  static let maximumMicroseconds: UInt64 = 1 << 53
  /// How long Redis remembers a run that is silent: a day, as long as snapshots by default. A publisher that was silent
  /// for half of it begins a new run.
  static let stateSeconds = 86_400

  /// What the script answers: eleven integers and the tails.
  struct Reply: Equatable {
    enum Status: Int64 {
      case done = 0
      case full = 1
      case gap = 2
      /// Redis' clock is ahead of what the call allows: nothing was applied.
      case untimely = 3
    }
    var status: Status
    /// The number of the next record that the script expects.
    var next: UInt64
    /// Records that this call applied; those it skipped as applied before are not among them.
    var applied: UInt64 = 0
    var counts = Counts()
    /// By Redis' clock; nil where the ACL has no TIME.
    var timeMicroseconds: UInt64?

    /// Counted since the run began.
    struct Counts: Equatable {
      var resets: UInt64 = 0
      var late: UInt64 = 0
      var tooLarge: UInt64 = 0
      var wrongType: UInt64 = 0
      var implausible: UInt64 = 0
      var unannounced: UInt64 = 0
      /// Late announces of a generation that is not known.
      var unknown: UInt64 = 0
    }

    init(status: Status, next: UInt64) {
      self.status = status
      self.next = next
    }

    /// Nil when the reply has another shape.
    init?(_ view: RedisReplyView) {
      guard view.count == 12, let first = view[0].integer, let status = Status(rawValue: first) else { return nil }
      func number(_ index: Int) -> UInt64? { view[index].integer.flatMap { UInt64(exactly: $0) } }
      guard let next = number(1), let applied = number(2), let resets = number(3), let late = number(4),
        let tooLarge = number(5), let wrongType = number(6), let implausible = number(7), let unannounced = number(8),
        let unknown = number(9)
      else { return nil }
      self.status = status
      self.next = next
      self.applied = applied
      timeMicroseconds = number(10).flatMap { $0 <= PushScript.maximumMicroseconds ? $0 : nil }
      counts = Counts(
        resets: resets, late: late, tooLarge: tooLarge, wrongType: wrongType, implausible: implausible,
        unannounced: unannounced, unknown: unknown)
    }

    /// What the script tells of the records it applied, for `restoreText`; nil when it applied none.
    static func tails(of view: RedisReplyView) -> UnsafeRawBufferPointer? { view[11].bytes }
  }
}

extension CommonClock.Answer {
  /// What clock.lua answers; nil when the reply has another shape, or when what is kept cannot be a time.
  init?(_ view: RedisReplyView, wallMicroseconds: UInt64) {
    guard view.count == 5, let redis = view[0].integer, let shift = view[1].integer, let since = view[2].integer,
      let changed = view[3].integer, let taken = view[4].integer,
      [redis, shift, since, changed, taken].allSatisfy({ $0.magnitude <= PushScript.maximumMicroseconds }),
      let redisMicroseconds = UInt64(exactly: redis)
    else { return nil }
    self.init(
      redisMicroseconds: redisMicroseconds, shiftMicroseconds: shift, sinceMicroseconds: UInt64(max(0, since)),
      changedMicroseconds: changed, takenMicroseconds: taken, wallMicroseconds: wallMicroseconds)
  }
}
