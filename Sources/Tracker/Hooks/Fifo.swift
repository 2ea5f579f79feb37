// Fifo: a queue that costs the same at both ends however much waits in between, for each element and not only on average:
// workers wait for the lock that it lies under. A plain value of whoever owns it.

/// First in, first out.
struct Fifo<Element> {
  /// Elements that are allocated, moved and freed together. Of a quarter million that wait there are 512 such parts, whose
  /// places move when the first one has been taken: 4 KB.
  private static var partLength: Int { 512 }

  /// None is empty but the last one.
  private var parts: [[Element?]] = []
  /// Those of the first part before it have been taken.
  private var head = 0
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  mutating func append(_ element: Element) {
    if parts.last.map({ $0.count == Self.partLength }) ?? true { parts.append([]) }
    parts[parts.count - 1].append(element)
    count += 1
  }

  mutating func popFirst() -> Element? {
    guard count > 0 else { return nil }
    let first = parts[0][head].take()
    head += 1
    count -= 1
    if head == parts[0].count {
      // The last part's memory is for the next to come.
      if parts.count > 1 { parts.removeFirst() } else { parts[0].removeAll(keepingCapacity: true) }
      head = 0
    }
    return first
  }

  /// What waits, the first one first.
  var waiting: [Element] {
    var list: [Element] = []
    list.reserveCapacity(count)
    for (number, part) in parts.enumerated() { list += part[(number == 0 ? head : 0)...].compactMap { $0 } }
    return list
  }
}
