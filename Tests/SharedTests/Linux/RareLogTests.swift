import Linux
import Testing

@Suite("rare log lines")
struct RareLogTests {
  @Test("one line passes in a minute, the next one says how many were held back")
  func suppression() {
    let minute: UInt64 = 60_000_000_000
    var log = RareLog(pauseNanoseconds: minute)
    let start: UInt64 = 12_345
    #expect(log.next(now: start) == 0)
    for step in 1...500 as ClosedRange<UInt64> { #expect(log.next(now: start + step * 100_000_000) == nil) }
    #expect(log.next(now: start + minute - 1) == nil)
    #expect(log.next(now: start + minute) == 501)
    #expect(log.next(now: start + minute + 1) == nil)
    #expect(log.next(now: start + 3 * minute) == 1)
  }
}
