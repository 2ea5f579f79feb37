// PyYAML: the independent parser that the YAML tests compare with (Debian: python3-yaml). Starts one python3 per call.

import Foundation
import Shared

/// Why the comparison cannot run; a failure of the test, not a skip.
struct PyYAMLError: Error, CustomStringConvertible {
  let description: String
}

enum PyYAML {
  /// Reads documents in hex, one a line; prints for each what `shape` prints for our tree, or `error`.
  private static let program = #"""
    import sys
    try:
      import yaml
    except ImportError:
      sys.exit("PyYAML is missing: apt-get install python3-yaml")
    def text(value): return value.encode("utf-8", "surrogatepass").hex()
    def shape(node):
      if node is None: return "p()"
      if isinstance(node, yaml.ScalarNode):
        return {None: "p", "'": "s", '"': "d"}[node.style] + "(" + text(node.value) + ")"
      if isinstance(node, yaml.SequenceNode): return "[" + ",".join(map(shape, node.value)) + "]"
      return "{" + ",".join(shape_key(k) + ":" + shape(v) for k, v in node.value) + "}"
    def shape_key(node):
      return text(node.value) if isinstance(node, yaml.ScalarNode) else "?" + shape(node)
    for line in sys.stdin:
      try: print(shape(yaml.compose(bytes.fromhex(line.strip()), Loader=yaml.BaseLoader)))
      except (yaml.YAMLError, UnicodeError, ValueError): print("error")
    """#

  /// Our tree in the same notation: `p`, `s` or `d` for plain, single- or double-quoted, texts as hex of their UTF-8.
  static func shape(_ node: YAMLNode) -> String {
    switch node.content {
    case .scalar(let scalar):
      let style =
        switch scalar.style {
        case .plain: "p"
        case .singleQuoted: "s"
        case .doubleQuoted: "d"
        }
      return "\(style)(\(Hex.encode(Array(scalar.text.utf8))))"
    case .sequence(let items): return "[" + items.map(shape).joined(separator: ",") + "]"
    case .mapping(let entries):
      let pairs = entries.map { "\(Hex.encode(Array($0.key.utf8))):\(shape($0.value))" }
      return "{" + pairs.joined(separator: ",") + "}"
    }
  }

  /// What PyYAML makes of each document: its shape, or `error`.
  static func shapes(of documents: [[UInt8]]) throws -> [String] {
    let python = Process()
    python.executableURL = URL(filePath: "/usr/bin/env")
    python.arguments = ["python3", "-c", program]
    let (input, output, errors) = (Pipe(), Pipe(), Pipe())
    (python.standardInput, python.standardOutput, python.standardError) = (input, output, errors)
    do { try python.run() } catch { throw PyYAMLError(description: "python3 cannot be started: \(error)") }
    let lines = documents.map { Hex.encode($0) + "\n" }.joined()
    // Python answers line by line into the pipe's buffer: fed from another thread, neither waits for the other for ever.
    let feeder = Thread {
      try? input.fileHandleForWriting.write(contentsOf: Data(lines.utf8))
      try? input.fileHandleForWriting.close()
    }
    feeder.start()
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    let complaint = String(decoding: errors.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    python.waitUntilExit()
    let shapes = text.split(separator: "\n").map(String.init)
    guard python.terminationStatus == 0, shapes.count == documents.count else {
      throw PyYAMLError(description: "python3 answered \(shapes.count) of \(documents.count) documents: \(complaint)")
    }
    return shapes
  }
}
