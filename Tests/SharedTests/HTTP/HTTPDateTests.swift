import Testing

@testable import HTTP

@Suite("HTTP dates")
struct HTTPDateTests {
  private func text(_ bytes: UnsafeRawBufferPointer) -> String { String(decoding: bytes, as: UTF8.self) }

  @Test(
    "a time is written as RFC 9110 does",
    arguments: [
      (784_111_777, "Sun, 06 Nov 1994 08:49:37 GMT"), (0, "Thu, 01 Jan 1970 00:00:00 GMT"),
      (1_709_251_199, "Thu, 29 Feb 2024 23:59:59 GMT"), (4_102_444_799, "Thu, 31 Dec 2099 23:59:59 GMT"),
    ] as [(UInt64, String)])
  func format(unixSeconds: UInt64, written: String) {
    var date = HTTPDate()
    let line = text(date.line(nowNanoseconds: 0) { unixSeconds * 1_000_000_000 })
    #expect(line == "Date: \(written)\r\n")
    #expect(line.utf8.count == HTTPDate.byteCount)
  }

  @Test("the clock is asked again when the second is over, not before")
  func renewal() {
    var date = HTTPDate()
    let start: UInt64 = 784_111_777_250_000_000
    #expect(text(date.line(nowNanoseconds: 5) { start }).contains(":37 GMT"))
    let same = date.line(nowNanoseconds: 5 + 749_999_999) {
      Issue.record("the clock was asked")
      return start
    }
    #expect(text(same).contains(":37 GMT"))
    #expect(text(date.line(nowNanoseconds: 5 + 750_000_000) { start + 750_000_000 }).contains(":38 GMT"))
  }
}
