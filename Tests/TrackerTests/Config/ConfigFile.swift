// ConfigFile: tracker.yaml as tests write it.

import Settings
import Simulation

@testable import Tracker

enum ConfigFile {
  /// The least that starts.
  static let small = """
    chihaya:
      http:
        addr: ":6969"

    """

  /// Reads a configuration from a text.
  static func load(_ text: String, _ environment: [String: String] = [:]) throws -> TrackerConfig {
    let directory = try TemporaryDirectory()
    let path = try directory.write(text, as: "tracker.yaml")
    return try TrackerConfig.load(path: path, environment: environment)
  }

  /// What is wrong with a text: each problem without the directory.
  static func problems(_ text: String, _ environment: [String: String] = [:]) throws -> [String] {
    let directory = try TemporaryDirectory()
    let path = try directory.write(text, as: "tracker.yaml")
    do throws(ConfigError) {
      _ = try TrackerConfig.load(path: path, environment: environment)
      return []
    } catch {
      return error.problems.map { "\($0)".replacing("\(directory.path)/", with: "") }
    }
  }
}
