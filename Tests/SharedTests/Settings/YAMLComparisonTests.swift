import Foundation
import Simulation
import Testing

@testable import Linux
@testable import Settings

/// What the subset accepts means the same to PyYAML: acceptance implies the identical tree.
@Suite struct YAMLComparisonTests {
  private func fixtures() throws -> [(name: String, bytes: [UInt8])] {
    let folder = Repository.path("Tests/SharedTests/Fixtures/yaml")
    let names = try FileManager.default.contentsOfDirectory(atPath: folder).filter { $0.hasSuffix(".yaml") }.sorted()
    return try names.map { ($0, Array(try Data(contentsOf: URL(filePath: "\(folder)/\($0)")))) }
  }

  @Test("the fixtures and the example configurations are read exactly as PyYAML reads them")
  func files() async throws {
    var files = try fixtures()
    for name in ["dist/example_config.yaml", "dist/example_consumer.yaml"] {
      files.append((name, Array(try Data(contentsOf: URL(filePath: Repository.path(name))))))
    }
    #expect(files.count >= 8)
    let expected = try await PyYAML.shapes(of: files.map(\.bytes))
    for (file, shape) in zip(files, expected) {
      let ours = PyYAML.shape(try YAMLParser.parse(file.bytes))
      #expect(ours == shape, "\(file.name)")
    }
  }

  @Test("every accepted document is read exactly as PyYAML reads it")
  func documents() async throws {
    let documents = YAMLDocuments.accepted
    let expected = try await PyYAML.shapes(of: documents.map { Array($0.utf8) })
    for (document, shape) in zip(documents, expected) {
      let shown = Comment(rawValue: JSONText.quoted(document))
      do throws(YAMLError) {
        #expect(PyYAML.shape(try YAMLParser.parse(Array(document.utf8))) == shape, shown)
      } catch {
        Issue.record("refused: \(error): \(shown)")
      }
    }
  }

  @Test(
    "whatever is accepted of mutated documents is read exactly as PyYAML reads it", arguments: [UInt64(11), 12, 13])
  func mutations(seed: UInt64) async throws {
    var random = SeededRandom(seed: seed)
    let seeds = YAMLDocuments.accepted + YAMLDocuments.refused.map(\.document)
    let pieces = [
      "\n", " ", "  ", "\n  ", "- ", ": ", ":", "-", "[", "]", "{", "}", "'", "\"", "\\", "#", " #", "?", ",", "---\n",
      "\r\n", "a",
      "\u{feff}", "b: c", "\n- ", "~", "é", "%", "&", "*", "!", "|", ">", "...", "\t", "=", "<<",
    ]
    var accepted: [(bytes: [UInt8], ours: String)] = []
    var tried = 0
    while accepted.count < 4_000 {
      tried += 1
      var scalars = Array(seeds.randomElement(using: &random)!.unicodeScalars)
      for _ in 0..<Int.random(in: 1...4, using: &random) {
        let place = Int.random(in: 0...scalars.count, using: &random)
        switch Int.random(in: 0..<4, using: &random) {
        case 0: if place < scalars.count { scalars.remove(at: place) }
        case 1: scalars.insert(contentsOf: Array(seeds.randomElement(using: &random)!.unicodeScalars), at: place)
        default: scalars.insert(contentsOf: Array(pieces.randomElement(using: &random)!.unicodeScalars), at: place)
        }
      }
      var text = String.UnicodeScalarView()
      text.append(contentsOf: scalars)
      let bytes = Array(String(text).utf8)
      if let node = try? YAMLParser.parse(bytes) { accepted.append((bytes, PyYAML.shape(node))) }
    }
    let expected = try await PyYAML.shapes(of: accepted.map(\.bytes))
    for (document, shape) in zip(accepted, expected) where document.ours != shape {
      Issue.record(
        "seed \(seed): \(JSONText.quoted(String(decoding: document.bytes, as: UTF8.self))): ours \(document.ours), PyYAML \(shape)"
      )
    }
    #expect(tried > accepted.count, "some must be refused, or nothing was mutated")
  }
}
