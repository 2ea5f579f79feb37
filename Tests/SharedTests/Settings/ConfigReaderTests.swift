import Settings
import Simulation
import Testing

@Suite struct ConfigReaderTests {
  private func reader(_ text: String?, _ environment: [String: String] = [:]) throws -> ConfigReader {
    let directory = try TemporaryDirectory()
    let path = "\(directory.path)/a.yaml"
    if let text { try directory.write(text, as: "a.yaml") }
    // The default place, so that the file may be missing.
    return try ConfigReader(path: nil, defaultPath: path, rootKeys: ["root"], environment: environment, prefix: "P")
  }

  private func problems(_ reader: ConfigReader) -> [String] {
    do throws(ConfigError) {
      _ = try reader.finish()
      return []
    } catch {
      return error.problems.map { "\($0.setting): \($0.message)" }
    }
  }

  @Test("without the default file the environment is enough")
  func missing() throws {
    let reader = try reader(nil, ["P__A__B": "1"])
    let section = reader.section.section("a")
    #expect(section.integer("b", default: 0, in: 0...9) == 1)
    #expect(section.string("c", default: "x") == "x")
    #expect(
      try reader.finish().settings == [
        EffectiveSetting(path: ["a", "b"], shown: "1", origin: .environment(variable: "P__A__B")),
        EffectiveSetting(path: ["a", "c"], shown: "\"x\"", origin: .builtIn),
      ])
  }

  @Test("an empty file has no settings, an empty root key is no problem")
  func empty() throws {
    #expect(throws: ConfigError.self) { try reader("") }
    #expect(problems(try reader("root:")).isEmpty)
  }

  @Test("a text that YAML versions read differently must be quoted, and may come from a variable")
  func ambiguous() throws {
    let reader = try reader("root: {a: yes, b: 'yes', c: 0123, d: 123}", ["P__E": "yes"])
    let section = reader.section
    let values = ["a", "b", "c", "d", "e"].map { section.string($0, default: "default") }
    #expect(values == ["default", "yes", "default", "123", "yes"])
    #expect(
      problems(reader) == [
        "a: YAML parsers disagree whether yes is a text; put it in quotes",
        "c: YAML parsers disagree whether 0123 is a text; put it in quotes",
      ])
  }

  @Test("problems are sorted by line, the environment's last")
  func order() throws {
    let reader = try reader("root:\n  a: x\n  b: y\n  c: z\n", ["P__D": "w"])
    for key in ["d", "c", "a"] { _ = reader.section.integer(key, default: 0, in: 0...1) }
    let section = reader.section
    _ = section.integer("b", default: 0, in: 0...1)
    #expect(problems(reader).map { $0.prefix(1) } == ["a", "b", "c", "d"])
  }

  @Test("two variables for one setting are refused, also two items of one name")
  func ambiguousVariables() throws {
    let first = try reader("root: {}", ["P__A": "1", "P__a": "2"])
    _ = first.section.integer("a", default: 0, in: 0...9)
    #expect(problems(first) == ["a: another variable, which differs in upper and lower case only, sets the same"])
    let second = try reader("root: {l: [{name: x y}, {name: x-y}]}", ["P__L__X_Y__B": "1"])
    #expect(problems(second) == ["l.x_y.b: the list has 2 items named x_y; use the number"])
  }

  @Test("list items are appended in the order of their numbers")
  func append() throws {
    let environment = Dictionary(uniqueKeysWithValues: (0..<12).map { ("P__L__\($0)", "item \($0)") })
    let reader = try reader(nil, environment)
    #expect(reader.section.strings("l", default: []) == (0..<12).map { "item \($0)" })
  }

  @Test("fractions are plain decimals")
  func fractions() throws {
    for (text, value) in [("0.2", 0.2), ("1", 1), ("0", 0), ("0.000001", 0.000001)] {
      let reader = try reader("root: {a: \(text)}")
      #expect(reader.section.fraction("a", default: 9) == value)
    }
    for text in [".5", "1.", "1e-3", "0x1", "1_0", "1.1", "-0.1", "'0.5'", "nan", ".inf"] {
      let reader = try reader("root: {a: \(text)}")
      _ = reader.section.fraction("a", default: 9)
      #expect(problems(reader).count == 1, "\(text)")
    }
    #expect(try reader(nil, ["P__A": "0.5"]).section.fraction("a", default: 9) == 0.5)
  }

  @Test("a null is a setting that is not written, an empty text in a variable is an empty text")
  func nulls() throws {
    let reader = try reader("root: {a: , b: ~, c: null, d: ''}", ["P__E": ""])
    #expect(
      ["a", "b", "c"].map { reader.section.optionalString($0, default: "default") } == [
        "default", "default", "default",
      ])
    #expect(reader.section.optionalString("d", default: "default") == nil)
    #expect(reader.section.optionalString("e", default: "default") == nil)
    #expect(problems(reader).isEmpty)
  }

  @Test("a control character in a text is refused without showing the text")
  func controlCharacters() throws {
    let reader = try reader("root: {a: \"x\\ny\"}")
    _ = reader.section.string("a", default: "")
    #expect(problems(reader) == ["a: expected a text without control characters"])
  }
}
