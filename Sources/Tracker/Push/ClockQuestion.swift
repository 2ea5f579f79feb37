// CommonClock.Question: what a tracker asks clock.lua, and what that answers. Values, made by CommonClock and StreamPublisher.

extension CommonClock {
  /// What clock.lua is asked: where the clock should be, when that is known, and the change of the shift that makes it so.
  struct Question: Equatable {
    var expectedMicroseconds: UInt64?
    var change: Change?
    /// Redis has forgotten something.
    var isForgetful = false
    /// Of who does not know it: since when announces are ordered, before now, and the highest order of an earlier process.
    var sinceMicroseconds: UInt64 = 0
    var highestMicroseconds: UInt64 = 0
  }

  /// What a spool says of the clock: the highest order by it, 0: none, and the lowest by this process' OrderClock.
  struct Past: Equatable {
    var highest: UInt64 = 0
    var firstOwn = UInt64.max
  }

  /// Set the shift, if it is still as it was found.
  struct Change: Equatable {
    var from: Int64
    var to: Int64
  }

  /// What Redis said, and this machine's clock; Unix microseconds.
  struct Answer: Equatable {
    var redisMicroseconds: UInt64
    var shiftMicroseconds: Int64 = 0
    /// From when on Redis has forgotten nothing.
    var sinceMicroseconds: UInt64 = 0
    /// When a tracker set the shift last, by this clock.
    var changedMicroseconds: Int64 = 0
    /// What a process that did not know the clock was told last.
    var takenMicroseconds: Int64 = 0
    var wallMicroseconds: UInt64
  }
}
