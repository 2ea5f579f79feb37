import Testing

@testable import Settings

@Suite struct YAMLScalarTests {
  @Test(
    "an unquoted text that some YAML parser takes for something else is ambiguous",
    arguments: [
      "yes", "No", "ON", "off", "y", "N", "true", "FALSE", "~", "null", "", "0123", "0x1F", "0b1", "0o7", "1_000",
      "1:30", "1:30:00", "+1", "-0", "1.5",
      "1.", ".5", "1e3", "1.5E-3", "-.inf", ".NaN", "<<", "=", "2001-12-14", "2001-1-4T10:00:00Z",
      "2001-12-14 21:59:43.10 -5", "00", "1_0.5", "0x",
    ])
  func ambiguous(text: String) {
    #expect(YAMLScalar(text).isAmbiguousText)
    #expect(!YAMLScalar(text, .doubleQuoted).isAmbiguousText)
    #expect(!YAMLScalar(text, .singleQuoted).isAmbiguousText)
  }

  @Test(
    "an unquoted text that is one to every YAML parser is not ambiguous",
    arguments: [
      "a", "30m", "1h30m", "127.0.0.1", "0.0.0.0:6969", ":6969", "::1", "tracker:traffic", "/announce", "12345", "0",
      "-7", "1.2.3", "e3", "1e", "-UT2210",
      "redis://127.0.0.1:6379/0", "yess", "0123abcdefg", "2001-12", "2001-12-14x", "-", "+", ".", "..", "0.2s",
      "x-real-ip",
    ])
  func unambiguous(text: String) { #expect(!YAMLScalar(text).isAmbiguousText) }

  @Test("numbers and truth values are what YAML 1.1 and 1.2 agree on")
  func typed() {
    #expect(["0", "7", "-7", "100"].map { YAMLScalar($0).integer } == [0, 7, -7, 100])
    for text in ["", "007", "0x7", "1_0", "+7", "1.0", "-0", "- 7", "99999999999999999999", "７"] {
      #expect(YAMLScalar(text).integer == nil, "\(text)")
    }
    #expect(YAMLScalar("7", .doubleQuoted).integer == nil)
    #expect(["true", "True", "TRUE"].allSatisfy { YAMLScalar($0).bool == true })
    #expect(["false", "False", "FALSE"].allSatisfy { YAMLScalar($0).bool == false })
    #expect(["yes", "on", "y", "tRUE", "1", ""].allSatisfy { YAMLScalar($0).bool == nil })
    #expect(YAMLScalar("true", .singleQuoted).bool == nil)
    #expect(["", "~", "null"].allSatisfy { YAMLScalar($0).isNull } && !YAMLScalar("", .doubleQuoted).isNull)
  }
}
