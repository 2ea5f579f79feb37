import Simulation
import Testing

@testable import Linux
@testable import Settings

@Suite struct YAMLParserTests {
  private func parse(_ text: String) throws(YAMLError) -> YAMLNode { try YAMLParser.parse(Array(text.utf8)) }

  @Test("what is no part of the subset is refused with its problem and line", arguments: YAMLDocuments.refused.indices)
  func refused(index: Int) {
    let (document, problem, line) = YAMLDocuments.refused[index]
    let shown = Comment(rawValue: JSONText.quoted(document))
    do throws(YAMLError) {
      let node = try parse(document)
      Issue.record("accepted as \(node): \(shown)")
    } catch {
      #expect(error == YAMLError(line: line, problem: problem), shown)
      #expect(!error.problem.text.isEmpty)
    }
  }

  @Test("bytes that are not UTF-8 are refused by line")
  func invalidUTF8() {
    for bytes: [UInt8] in [
      [0xff], [0xc3, 0x28], [0xed, 0xa0, 0x80], [0xf5, 0x80, 0x80, 0x80], [0xe2, 0x82], [0xc0, 0xaf],
    ] {
      #expect(throws: YAMLError(line: 2, problem: .invalidUTF8)) {
        try YAMLParser.parse(Array("a: 1\nb: ".utf8) + bytes)
      }
    }
  }

  @Test("nodes carry the lines they begin on")
  func lines() throws {
    let node = try parse("# c\n\na: 1\nb:\n\n  - c\n  -\n    d: [e,\n     f]\n")
    guard case .mapping(let entries) = node.content, case .sequence(let items) = entries[1].value.content,
      case .mapping(let inner) = items[1].content, case .sequence(let flow) = inner[0].value.content
    else {
      Issue.record("wrong shape: \(node)")
      return
    }
    #expect(node.line == 3)
    #expect(entries.map(\.keyLine) == [3, 4])
    #expect(entries[1].value.line == 6)
    #expect(items.map(\.line) == [6, 8])
    #expect(flow.map(\.line) == [8, 9])
  }

  @Test("nesting is accepted up to the limit and refused behind it")
  func depth() throws {
    let limit = YAMLParser.maximumDepth
    func flow(_ depth: Int) -> String { String(repeating: "[", count: depth) + String(repeating: "]", count: depth) }
    func lists(_ depth: Int) -> String { String(repeating: "- ", count: depth - 1) + "a" }
    func maps(_ depth: Int) -> String {
      (0..<depth - 1).map { String(repeating: " ", count: $0) + "a:\n" }.joined() + String(repeating: " ", count: depth)
        + "b"
    }
    _ = try parse(flow(limit))
    _ = try parse(lists(limit))
    _ = try parse(maps(limit))
    #expect(throws: YAMLError(line: 1, problem: .tooDeep)) { try parse(flow(limit + 1)) }
    #expect(throws: YAMLError(line: 1, problem: .tooDeep)) { try parse(lists(limit + 1)) }
    #expect(throws: YAMLError(line: limit + 1, problem: .tooDeep)) { try parse(maps(limit + 1)) }
    #expect(throws: YAMLError(line: 1, problem: .tooDeep)) { try parse(String(repeating: "[", count: 1_000_000)) }
  }

  @Test("a key is accepted up to the limit and refused behind it")
  func keyLength() throws {
    let longest = String(repeating: "k", count: YAMLParser.maximumKeyBytes)
    _ = try parse("\(longest): 1")
    _ = try parse("a: {\(longest): 1}")
    #expect(throws: YAMLError(line: 2, problem: .longKey)) { try parse("a: 1\n\(longest)k: 1") }
    #expect(throws: YAMLError(line: 1, problem: .longKey)) { try parse("\(longest) : 1") }
    #expect(throws: YAMLError(line: 1, problem: .longKey)) { try parse("{\(longest)k: 1}") }
  }

  @Test("a document is accepted up to the limit and refused behind it")
  func size() throws {
    var bytes = Array("a: 1\n".utf8)
    bytes += [UInt8](repeating: UInt8(ascii: "#"), count: YAMLParser.maximumBytes - bytes.count)
    _ = try YAMLParser.parse(bytes)
    #expect(throws: YAMLError(line: 1, problem: .tooLarge)) { try YAMLParser.parse(bytes + [UInt8(ascii: "#")]) }
  }

  @Test("every byte string is a tree or an error", arguments: [UInt64(1), 2, 3, 4])
  func anyBytes(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let seeds = YAMLDocuments.accepted + YAMLDocuments.refused.map(\.document)
    let pieces = [
      "\n", "  ", "- ", ": ", "[", "]", "{", "}", "'", "\"", "\\", "#", " #", "\t", "&", "*", "|", "?", ",", "---\n",
      "\r\n", "a",
    ]
    for _ in 0..<5_000 {
      var bytes = Array(seeds.randomElement(using: &random)!.utf8)
      for _ in 0..<Int.random(in: 1...6, using: &random) {
        let place = Int.random(in: 0...bytes.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: bytes.insert(UInt8.random(in: 0...255, using: &random), at: place)
        case 1: if place < bytes.count { bytes.remove(at: place) }
        case 2: bytes.insert(contentsOf: Array(pieces.randomElement(using: &random)!.utf8), at: place)
        default: bytes.insert(contentsOf: Array(seeds.randomElement(using: &random)!.utf8), at: place)
        }
      }
      // A trap would end the process; an error must name a line of the document.
      do throws(YAMLError) {
        _ = try YAMLParser.parse(bytes)
      } catch {
        let lines = bytes.count { $0 == UInt8(ascii: "\n") } + 1
        #expect((1...lines).contains(error.line), "seed \(seed): \(bytes)")
      }
    }
  }
}
