import Testing

@testable import Tracker

@Suite("reannounce storms")
struct StormSpreadTests {
  @Test("up to 500 announces a second keep their interval, more are spread over a quarter of it")
  func threshold() {
    var spread = StormSpread(startSeconds: 100, intervalSeconds: 1800)
    var lottery = PeerLottery(seed: 1)
    func additions(_ count: Int, at second: UInt32) -> [UInt32] {
      (0..<count).map { _ in spread.addition(nowSeconds: second, intervalSeconds: 1800, lottery: &lottery) }
    }
    #expect(additions(StormSpread.stormPerSecond, at: 101).allSatisfy { $0 == 0 })
    let storm = additions(10_000, at: 101)
    #expect(storm.allSatisfy { $0 <= 450 })
    #expect(Set(storm).count > 400, "spread over all of it")
    #expect(additions(StormSpread.stormPerSecond, at: 102).allSatisfy { $0 == 0 }, "each second counts for itself")
    #expect(additions(10_000, at: 1900).allSatisfy { $0 == 0 }, "one interval after the start it is over")
  }
}
