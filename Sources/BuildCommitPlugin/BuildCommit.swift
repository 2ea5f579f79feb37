// BuildCommit: writes the git commit into a Swift file when it changed, so that `--version` tells the truth. Run by
// SwiftPM. Package.swift itself cannot do it: SwiftPM caches what it evaluates to and would show an old commit (tried).

import Foundation
import PackagePlugin

@main
struct BuildCommit: BuildToolPlugin {
  /// $1 is the checkout, $2 the file to write. "unknown" without git or outside a checkout.
  private static let script = #"""
    commit=$(git -C "$1" rev-parse --short=12 HEAD 2>/dev/null) || commit=unknown
    cat > "$2" <<END
    @_cdecl("clinux_build_commit")
    public func buildCommit() -> UnsafePointer<CChar> {
      let text: StaticString = "$commit"
      return UnsafeRawPointer(text.utf8Start).assumingMemoryBound(to: CChar.self)
    }
    END
    """#

  /// `.git`; in a worktree (git-worktree(1)) that is a file, which names the directory.
  private static func gitDirectory(of checkout: URL) -> URL {
    let git = checkout.appending(path: ".git")
    guard let text = try? String(contentsOf: git, encoding: .utf8), text.hasPrefix("gitdir: ") else { return git }
    return URL(filePath: String(text.dropFirst("gitdir: ".count)).trimmingCharacters(in: .newlines))
  }

  func createBuildCommands(context: PluginContext, target: Target) -> [Command] {
    let checkout = context.package.directoryURL
    let output = context.pluginWorkDirectoryURL.appending(path: "BuildCommit.swift")
    // Written by every commit, checkout, pull and rebase: what makes the command run again.
    let signs = ["HEAD", "logs/HEAD"].map { Self.gitDirectory(of: checkout).appending(path: $0) }
    return [
      .buildCommand(
        displayName: "Reading the commit", executable: URL(filePath: "/bin/sh"),
        arguments: ["-c", Self.script, "BuildCommit", checkout.path, output.path],
        inputFiles: signs.filter { FileManager.default.fileExists(atPath: $0.path) }, outputFiles: [output])
    ]
  }
}
