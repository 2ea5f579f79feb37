// Version: what `--version`, `traffic-consumer status` and the log's first line say this program is.

import CLinux

/// The version of this build.
public enum Version {
  /// Semantic version (semver.org 2.0.0) of both daemons; raised by hand with a release.
  public static let semantic = "0.1.0"
  /// The git commit the sources were built from, "unknown" outside a git checkout, with "-modified" behind it when
  /// tracked files differed from it.
  public static let commit = String(cString: clinux_build_commit())
  /// `0.1.0 (commit 0123456789ab)`.
  public static var text: String { "\(semantic) (commit \(commit))" }
}
