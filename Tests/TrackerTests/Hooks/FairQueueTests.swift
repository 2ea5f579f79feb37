import Testing
import Wire

@testable import Tracker

@Suite("fair queues")
struct FairQueueTests {
  private func source(_ number: UInt32) -> HostNetwork { HostNetwork(of: IPAddress(v4: number)) }

  @Test("sources take turns, and each has its own in the order in which they came")
  func turns() {
    var queue = FairQueue<Int>()
    for number in 0..<5 { queue.append(number, of: source(1)) }
    for number in 10..<12 { queue.append(number, of: source(2)) }
    queue.append(20, of: source(3))
    #expect(queue.count == 8 && queue.count(of: source(1)) == 5 && queue.count(of: source(9)) == 0)
    var order: [Int] = []
    while let next = queue.popFirst() { order.append(next) }
    #expect(order == [0, 10, 20, 1, 11, 2, 3, 4])
    #expect(queue.isEmpty && queue.count(of: source(1)) == 0)
  }

  @Test("who comes to a long queue is next but one, again and again")
  func newcomer() {
    var queue = FairQueue<Int>()
    for number in 0..<100_000 { queue.append(number, of: source(1)) }
    for newcomer in 2..<1000 as Range<UInt32> {
      queue.append(-Int(newcomer), of: source(newcomer))
      let next = [queue.popFirst(), queue.popFirst()]
      #expect(next.contains(-Int(newcomer)))
    }
    #expect(queue.count == 100_000 - 998)
  }

  @Test("a queue of one source is as a list of all that wait, at every length", arguments: [1, 2, 3] as [UInt64])
  func fifo(seed: UInt64) {
    var random = SeededGenerator(seed: seed)
    var queue = Fifo<Int>()
    var list: [Int] = []
    for number in 0..<200 {
      // Around the length of a part, and of several.
      let (added, taken) = (Int.random(in: 0...600, using: &random), Int.random(in: 0...600, using: &random))
      for element in 0..<added {
        queue.append(number * 1000 + element)
        list.append(number * 1000 + element)
      }
      let first = (0..<taken).map { _ in queue.popFirst() }
      #expect(first == (0..<taken).map { $0 < list.count ? list[$0] : nil })
      list.removeFirst(min(taken, list.count))
      #expect(queue.count == list.count && queue.isEmpty == list.isEmpty && queue.waiting == list)
    }
  }

  @Test("nothing is lost or doubled, whatever comes and goes")
  func conservation() {
    var random = SeededGenerator(seed: 5)
    var queue = FairQueue<Int>()
    var (added, taken): ([UInt32: [Int]], [UInt32: [Int]]) = ([:], [:])
    var owner: [UInt32] = []
    for number in 0..<20_000 {
      if Bool.random(using: &random) || number < 100 {
        let source = UInt32.random(in: 1...40, using: &random)
        queue.append(owner.count, of: self.source(source))
        added[source, default: []].append(owner.count)
        owner.append(source)
      } else if let next = queue.popFirst() {
        taken[owner[next], default: []].append(next)
      }
    }
    while let next = queue.popFirst() { taken[owner[next], default: []].append(next) }
    #expect(added == taken)
  }

  @Test("a source holds up to its budget, and gets back what it gives back")
  func budget() {
    var shares = SourceShares()
    func take(_ number: UInt32) -> Bool { shares.take(source(number), room: 1000, budget: 10) }
    let first = (0..<12).map { _ in take(1) }
    #expect(first == [Bool](repeating: true, count: 10) + [false, false])
    let other = take(2)
    shares.giveBack(source(1))
    let again = [take(1), take(1)]
    #expect(other && again == [true, false] && shares.total == 11)
    for _ in 0..<20 { shares.giveBack(source(1)) }
    #expect(shares.total == 1, "what was not taken is not given back")
  }

  @Test("one source gets a fifth of the room; where many hold it all, what becomes free goes to those who hold little")
  func room() {
    var shares = SourceShares()
    let capacity = 10_000
    func take(_ number: UInt32) -> Bool { shares.take(source(number), room: capacity - shares.total) }
    while take(1) {}
    #expect((1990...2010).contains(shares.total))
    for number in 2...1000 as ClosedRange<UInt32> { while take(number) {} }
    #expect(shares.total == capacity)
    let none = take(2000)
    shares.giveBack(source(1))
    let greedy = (1...20).map { take($0) }
    let newcomer = take(2000)
    #expect(!none && newcomer && !greedy.contains(true))
  }
}
