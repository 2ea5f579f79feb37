import Settings
import Testing

@Suite struct DurationTextTests {
  @Test(
    "durations read as Go reads them",
    arguments: [
      ("30m", 1_800_000_000_000), ("1h30m", 5_400_000_000_000), ("500ms", 500_000_000), ("0", 0), ("0s", 0),
      ("1.5h", 5_400_000_000_000),
      ("100us", 100_000), ("100µs", 100_000), ("7ns", 7), ("1h0m0.5s", 3_600_500_000_000), (".5s", 500_000_000),
      ("5.s", 5_000_000_000),
      ("30d", 2_592_000_000_000_000), ("0.1234567891s", 123_456_789), ("0.00000000000000000000001h", 0),
      ("9223372036854775807ns", 9_223_372_036_854_775_807), ("2562047h47m16.854775807s", 9_223_372_036_854_775_807),
      ("0.333333333333333333s", 333_333_333), ("106751d23h47m16.854775807s", 9_223_372_036_854_775_807),
    ] as [(String, Int64)])
  func reads(text: String, nanoseconds: Int64) throws {
    #expect(try #require(DurationText.parse(text)).wholeNanoseconds == nanoseconds)
  }

  @Test(
    "what is no duration is refused",
    arguments: [
      "", "30", "m", "1h30", "30 m", " 30m", "-1s", "+1s", "1x", "1H", "1e3s", "1..5s", ".s", "1m30",
      "9223372036854775808ns", "106752d",
      "99999999999999999999s", "1s1", "1_000s", "30m ", "1w", "9223372036854775807ns1ns",
    ])
  func refuses(text: String) { #expect(DurationText.parse(text) == nil) }

  @Test(
    "the text of a duration reads back to it",
    arguments: [0, 1, 999, 1_000, 1_500_000, 60_000_000_000, 5_400_000_000_001, Int64.max])
  func roundTrip(nanoseconds: Int64) {
    let duration = Duration.nanoseconds(nanoseconds)
    #expect(DurationText.parse(DurationText.text(duration)) == duration)
  }

  @Test("texts are short")
  func texts() {
    #expect(DurationText.text(.seconds(1800)) == "30m")
    #expect(DurationText.text(.seconds(5400)) == "1h30m")
    #expect(DurationText.text(.milliseconds(500)) == "500ms")
    #expect(DurationText.text(.zero) == "0s")
  }
}
