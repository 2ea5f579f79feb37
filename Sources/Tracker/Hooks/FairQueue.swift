// FairQueue: a queue in which sources take turns, so that one that asks a thousand times keeps nobody else waiting for more
// than one of its questions. Taking and adding cost the same however much waits. A plain value of whoever owns it.

import Wire

/// First in, first out within a source; one each between sources.
struct FairQueue<Element> {
  /// None is empty.
  private var lines: [HostNetwork: Fifo<Element>] = [:]
  /// Each source that has a line, once.
  private var turns = Fifo<HostNetwork>()
  private(set) var count = 0

  var isEmpty: Bool { count == 0 }

  /// How many of a source wait.
  func count(of source: HostNetwork) -> Int { lines[source]?.count ?? 0 }

  mutating func append(_ element: Element, of source: HostNetwork) {
    if let place = lines.index(forKey: source) {
      lines.values[place].append(element)
    } else {
      var line = Fifo<Element>()
      line.append(element)
      lines[source] = line
      turns.append(source)
    }
    count += 1
  }

  mutating func popFirst() -> Element? {
    guard let source = turns.popFirst(), let place = lines.index(forKey: source) else { return nil }
    let first = lines.values[place].popFirst()
    if lines.values[place].isEmpty { lines.remove(at: place) } else { turns.append(source) }
    count -= 1
    return first
  }
}
