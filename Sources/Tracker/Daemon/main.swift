// The tracker's command line. Ends with the exit codes of ExitCode (sysexits).

import Glibc
import Linux
import Settings

/// Everything happens in here, not at top level: closures formed there belong to the main actor.
nonisolated func runTracker() -> ExitCode {
  let options: CommandLineOptions
  do throws(UsageError) {
    options = try CommandLineOptions(Array(CommandLine.arguments.dropFirst()))
    try options.refusePositionals()
  } catch {
    return CommandLineOptions.report(error, program: "tracker")
  }
  if options.showsHelp {
    print(trackerHelp(), terminator: "")
    return .ok
  }
  if options.showsVersion {
    print("tracker \(Version.text)")
    return .ok
  }
  let environment = CommandLineOptions.settingsEnvironment()
  if options.checksConfig {
    return CommandLineOptions.checkConfig { () throws(ConfigError) in
      let config = try TrackerConfig.load(path: options.configPath, environment: environment)
      return (config.describe(), config.warnings)
    }
  }
  options.configureLog()
  SignalSource.blockSignals()
  return runDaemon(options, environment)
}

nonisolated func runDaemon(_ options: CommandLineOptions, _ environment: [String: String]) -> ExitCode {
  do {
    let daemon = try TrackerDaemon(isDebug: options.isDebug, environment: environment) { () throws(ConfigError) in
      try TrackerConfig.load(path: options.configPath, environment: environment)
    }
    try daemon.run()
    return .ok
  } catch let error as ConfigError {
    return CommandLineOptions.report(error)
  } catch {
    Log.error("tracker cannot run", ["error": "\(error)"])
    return error is SystemError ? .inputOutput : .configuration
  }
}

nonisolated func trackerHelp() -> String {
  """
  Usage: tracker [options]

  A private BitTorrent tracker over HTTP and UDP. Reads \(TrackerConfig.defaultPath) unless --config says otherwise;
  variables such as TRACKER__HTTP__ADDR override the file.

  \(CommandLineOption.help(CommandLineOptions.all))
  Exit codes: 0 ok, 64 wrong command line, 74 an address or file cannot be used, 78 wrong configuration.

  """
}

exit(runTracker().rawValue)
