// Fifo: a queue whose front costs the same however much waits behind it. A plain value of whoever owns it.

/// First in, first out.
struct Fifo<Element> {
  private var elements: [Element?] = []
  /// Those before it have been taken.
  private var head = 0

  var count: Int { elements.count - head }
  var isEmpty: Bool { count == 0 }

  mutating func append(_ element: Element) { elements.append(element) }

  mutating func popFirst() -> Element? {
    guard head < elements.count else { return nil }
    let first = elements[head].take()
    head += 1
    if head == elements.count {
      elements.removeAll(keepingCapacity: head <= Self.keptCapacity)
      head = 0
    } else if head * 2 >= elements.count && head >= Self.keptCapacity {
      // Each element is moved at most once for each that was taken.
      elements.removeFirst(head)
      head = 0
    }
    return first
  }

  /// What waits, the first one first.
  var waiting: [Element] { elements[head...].compactMap { $0 } }

  /// An empty queue keeps the memory of this many.
  private static var keptCapacity: Int { 1024 }
}
