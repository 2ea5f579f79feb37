// CommonClock.Doubt: what a tracker does not know of the order of its announces because its machine stood still, or another
// tracker's did. A value, made by CommonClock; PushCall tells push.lua of it, and the spool the next process.

extension CommonClock {
  /// Of announces that came before a moment it is not known whether they came before those of other trackers whose order is
  /// lower by no more than so much. Microseconds.
  struct Doubt: Equatable {
    var until: UInt64 = 0
    var by: UInt64 = 0

    /// Of an announce with this order.
    func extent(at order: UInt64) -> UInt64 { order < until ? by : 0 }

    /// Takes in what a spool says of an announce: push.lua compares ticks.
    mutating func add(_ extent: UInt64, at order: UInt64) {
      if extent > 0 { add(Doubt(until: order + PushScript.orderTickMicroseconds, by: extent)) }
    }

    /// What either does not know.
    mutating func add(_ other: Doubt) {
      until = max(until, other.until)
      by = max(by, other.by)
    }
  }
}
