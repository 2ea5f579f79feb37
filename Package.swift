// swift-tools-version: 6.2
import PackageDescription

// Everything is Swift 6 language mode; a warning is an error. No package dependency: the owner's frame allows
// the toolchain, libhiredis and libsqlite3, nothing else linked.
let strict: [SwiftSetting] = [
  .swiftLanguageMode(.v6),
  .treatAllWarnings(as: .error),
]

/// A target in a folder of Sources/Shared.
func shared(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
  .target(name: name, dependencies: dependencies, path: "Sources/Shared/\(name)", swiftSettings: strict)
}

let package = Package(
  name: "pt-tracker",
  products: [
    .executable(name: "tracker", targets: ["Tracker"]),
    .executable(name: "traffic-consumer", targets: ["TrafficConsumer"]),
  ],
  targets: [
    // `--version` shows the commit: see Sources/BuildCommitPlugin and Sources/BuildStamp.
    .systemLibrary(
      name: "CHiredis", path: "Sources/Shared/CHiredis", pkgConfig: "hiredis",
      providers: [.apt(["libhiredis-dev"])]),
    .systemLibrary(
      name: "CSQLite", path: "Sources/Shared/CSQLite", pkgConfig: "sqlite3",
      providers: [.apt(["libsqlite3-dev"])]),
    .target(name: "CLinux", path: "Sources/Shared/CLinux"),
    .plugin(name: "BuildCommit", capability: .buildTool(), path: "Sources/BuildCommitPlugin"),
    .target(name: "BuildStamp", path: "Sources/BuildStamp", swiftSettings: strict, plugins: ["BuildCommit"]),
    // What the daemons have in common, lowest first. A target sees what it names here and nothing else: SQLite is the
    // consumer's alone. docs/CONTRIBUTING.md has the picture.
    shared("Wire", ["CLinux"]),
    shared("Linux", ["CLinux", "Wire"]),
    shared("Settings", ["CLinux", "Linux", "Wire"]),
    shared("HTTP", ["CLinux", "Linux", "Wire"]),
    shared("Redis", ["CHiredis", "CLinux", "Linux", "Settings", "Wire"]),
    shared("SQLite", ["CSQLite"]),
    .executableTarget(
      name: "Tracker", dependencies: ["Wire", "Linux", "Settings", "HTTP", "Redis", "CLinux", "BuildStamp"],
      path: "Sources/Tracker",
      // What Redis runs: Sources/Tracker/Push/PushScript.swift.
      resources: ["clock", "common", "push", "restore"].map { .embedInCode("Push/Scripts/\($0).lua") },
      swiftSettings: strict),
    .executableTarget(
      name: "TrafficConsumer",
      dependencies: ["Wire", "Linux", "Settings", "HTTP", "Redis", "SQLite", "CLinux", "BuildStamp"],
      path: "Sources/TrafficConsumer", swiftSettings: strict),
    // What the tests and the demo share: the simulated swarm, its ledger, and the process harness.
    .target(
      name: "Simulation", dependencies: ["Wire", "Linux", "Settings", "Redis", "CLinux"], path: "Tests/Simulation",
      swiftSettings: strict),
    .executableTarget(
      name: "Demo", dependencies: ["Simulation", "Wire", "Linux", "Redis"], path: "Tests/Demo", swiftSettings: strict),
    .executableTarget(
      name: "Torture", dependencies: ["Simulation", "Wire", "Linux", "Redis"], path: "Tests/Torture",
      swiftSettings: strict),
    .executableTarget(
      name: "Attack", dependencies: ["Simulation", "Wire", "Linux", "Redis"], path: "Tests/Attack",
      swiftSettings: strict),
    // `make bench`: what loads the trackers under test (Benchmarks/README.md).
    .executableTarget(
      name: "LoadGenerator", dependencies: ["CLinux"], path: "Benchmarks/LoadGenerator", swiftSettings: strict),
    // The publisher by itself, for the row `push` of `make bench`; skipped unless that runs it.
    .testTarget(
      name: "PushBenchmark", dependencies: ["Tracker"], path: "Benchmarks/PushBenchmark",
      swiftSettings: strict),
    .testTarget(
      name: "SharedTests", dependencies: ["Wire", "Linux", "Settings", "HTTP", "Redis", "SQLite", "Simulation"],
      path: "Tests/SharedTests", exclude: ["Fixtures"],
      swiftSettings: strict),
    .testTarget(
      name: "TrackerTests", dependencies: ["Tracker", "Simulation"], path: "Tests/TrackerTests",
      swiftSettings: strict),
    .testTarget(
      name: "TrafficConsumerTests", dependencies: ["TrafficConsumer", "Simulation"],
      path: "Tests/TrafficConsumerTests", exclude: ["Faults"], swiftSettings: strict),
    .testTarget(
      name: "IntegrationTests", dependencies: ["Tracker", "TrafficConsumer", "Simulation"],
      path: "Tests/IntegrationTests",
      exclude: [
        "Allocations/count_allocations.c", "Releases/release_host.py", "Releases/systemctl.sh",
        "Replay/client-announces.json",
      ],
      swiftSettings: strict),
    // Seeded schedules on virtual time, with a model of Redis: `make simulate`.
    .testTarget(
      name: "SimulatorTests",
      dependencies: ["Tracker", "TrafficConsumer", "Simulation", "Wire", "Linux", "Redis", "SQLite"],
      path: "Tests/SimulatorTests", exclude: ["README.md", "Regressions", "after", "mutants", "mutants.txt"],
      swiftSettings: strict),
    // Real clients; `make test-clients` runs it, elsewhere it is skipped and says so.
    .testTarget(
      name: "ClientTests", dependencies: ["Tracker", "TrafficConsumer", "Simulation"],
      path: "Tests/ClientTests", exclude: ["deluge_client.py", "libtorrent_client.py", "run"], swiftSettings: strict),
  ]
)

// ONLY_TESTS=SimulatorTests leaves out everything that these tests do not use: for an optimised build of theirs (`make simulate`,
// Tests/SimulatorTests/mutants, the push rows of `make bench`).
if let only = Context.environment["ONLY_TESTS"] {
  package.targets.removeAll { target in
    let isProgramOfTests = ["Attack", "Demo", "Torture", "LoadGenerator"].contains(target.name)
    return isProgramOfTests || target.type == .test && target.name != only
  }
}
