// The README's commands, run as they stand there: every ```sh block in order, in one directory. Only the ports are
// replaced (by free ones), and the blocks that begin with a prompt (```console) are for a machine of one's own.

import Foundation
import Simulation
import Testing

@Suite("The README")
struct ReadmeTests {
  private let text = TemporaryDirectory.read(Repository.path("README.md"))

  /// The texts of the code blocks of one language.
  private func blocks(_ language: String) -> [String] {
    text.components(separatedBy: "\n```\(language)\n").dropFirst().map {
      $0.components(separatedBy: "\n```")[0] + "\n"
    }
  }

  @Test("its commands run, and show the user's gibibyte, then two after the replay")
  func commands() async throws {
    let directory = try TemporaryDirectory()
    try FileManager.default.createSymbolicLink(
      atPath: "\(directory.path)/bin", withDestinationPath: Binaries.folder)
    // Between two blocks a reader has looked at the screen; the script waits until the two announces have reached the
    // stream and everything on it is committed (the acknowledgement comes after the commit).
    let settle = """
      settle() {
        [ -e consumer.yaml ] || return 0
        for try in $(seq 400); do
          added=$(redis-cli -p 6379 XINFO STREAM tracker:traffic | sed -n '/^entries-added$/{n;p}')
          waiting=$(redis-cli -p 6379 XINFO GROUPS tracker:traffic | sed -n '/^pending$/{n;p};/^lag$/{n;p}' | tr -d '\\n')
          [ "${added:-0}" -ge 2 ] && [ "$waiting" = 00 ] && return 0
          sleep 0.05
        done
        echo 'the consumer did not settle' >&2; return 1
      }
      """
    let cleanup = "trap 'kill $(jobs -p) $(cat redis.pid 2>/dev/null) 2>/dev/null; wait' EXIT"
    var script = "set -eo pipefail\ncd '\(directory.path)'\n\(cleanup)\n\(settle)\n"
    for block in blocks("sh") { script += block + "settle\n" }
    for port in ["6379", "6880", "6881", "6969"] {
      // `port=6881` and `port 6881` are what a client says, not ports that a program listens on.
      let free = try FreePort.take()
      script = script.replacingOccurrences(of: ":\(port)", with: ":\(free)")
      if port == "6379" {
        script = script.replacingOccurrences(of: "-p \(port)", with: "-p \(free)")
        script = script.replacingOccurrences(of: "--port \(port)", with: "--port \(free)")
      }
    }
    let path = try directory.write(script, as: "readme.sh")
    let result = try await CommandResult.run(["bash", path])
    let log =
      TemporaryDirectory.read("\(directory.path)/tracker.log")
      + TemporaryDirectory.read("\(directory.path)/consumer.log")
    #expect(result.exit == .code(0), "\(result.output)\n\(result.errors)\n\(log)")
    #expect(result.output.contains("8:interval"), "\(result.output)")
    #expect(result.output.contains("\"uploaded\":1073741824") || result.output.contains("\"uploaded\": 1073741824"))
    #expect(result.output.contains("1GiB"), "\(result.output)")
    let last = result.output.split(separator: "\n").last.map(String.init) ?? ""
    #expect(last.contains("2147483648"), "\(result.output)")
  }

  @Test("it names only make targets, files and folders that exist")
  func links() throws {
    let makefile = TemporaryDirectory.read(Repository.path("Makefile"))
    for match in text.matches(of: /`?make ([a-z]+)/) {
      #expect(makefile.contains("\n\(match.1):"), "make \(match.1)")
    }
    for match in text.matches(of: /\]\(([^)#]+)\)/) {
      #expect(FileManager.default.fileExists(atPath: Repository.path(String(match.1))), "\(match.1)")
    }
    for match in text.matches(of: /\]\(#([^)]+)\)/) {
      let anchors = text.split(separator: "\n").filter { $0.hasPrefix("#") }.map { heading in
        heading.drop { $0 == "#" || $0 == " " }.lowercased().filter { $0.isLetter || $0.isNumber || " -".contains($0) }
          .replacingOccurrences(of: " ", with: "-")
      }
      #expect(anchors.contains(String(match.1)), "#\(match.1)")
    }
  }
}
