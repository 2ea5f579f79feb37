// TimerHeap: the timers of one EventLoop. On the loop's thread.

/// Timers by deadline: a binary heap, equal deadlines in the order they were set.
struct TimerHeap {
  private struct Entry {
    let deadline: UInt64
    let order: UInt64
    let body: () -> Void
    func precedes(_ other: Entry) -> Bool { (deadline, order) < (other.deadline, other.order) }
  }
  private var entries: [Entry] = []
  private var nextOrder: UInt64 = 0

  var nextDeadline: UInt64? { entries.first?.deadline }

  mutating func insert(deadline: UInt64, _ body: @escaping () -> Void) {
    entries.append(Entry(deadline: deadline, order: nextOrder, body: body))
    nextOrder += 1
    var child = entries.count - 1
    while child > 0, entries[child].precedes(entries[(child - 1) / 2]) {
      entries.swapAt(child, (child - 1) / 2)
      child = (child - 1) / 2
    }
  }

  /// Takes the first due body out, so that bodies may set timers while they run.
  mutating func popDue(at now: UInt64) -> (() -> Void)? {
    guard let first = entries.first, first.deadline <= now else { return nil }
    entries.swapAt(0, entries.count - 1)
    entries.removeLast()
    var parent = 0
    while true {
      var least = parent
      for child in [2 * parent + 1, 2 * parent + 2]
      where child < entries.count && entries[child].precedes(entries[least]) { least = child }
      if least == parent { break }
      entries.swapAt(parent, least)
      parent = least
    }
    return first.body
  }
}
