// PyYAML: the independent parser that the YAML tests compare with (Debian: python3-yaml). Starts one python3 per call.

import Foundation
import Settings
import Simulation
import Wire

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
    for line in open(sys.argv[1]):
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

  /// What PyYAML makes of each document: its shape, or `error`. By files: the end of a pipe is never seen when a program
  /// that another test starts meanwhile has inherited its other end.
  static func shapes(of documents: [[UInt8]]) async throws -> [String] {
    let directory = try TemporaryDirectory()
    let input = "\(directory.path)/documents"
    try documents.map { Hex.encode($0) + "\n" }.joined().write(toFile: input, atomically: false, encoding: .utf8)
    let python = try ChildProcess(
      ["python3", "-c", program, input], name: "python3", logPath: "\(directory.path)/shapes")
    let exit = try await python.waitForExit()
    let shapes = python.log.split(separator: "\n").map(String.init)
    guard exit == .code(0), shapes.count == documents.count else {
      throw PyYAMLError(
        description:
          "python3 (\(exit)) answered \(shapes.count) of \(documents.count) documents: \(python.log.suffix(500))")
    }
    return shapes
  }
}
