// ExitCode: how both daemons end, after sysexits(3) where it has a word for it. Used by the two mains and the verbs.

/// The exit codes of `tracker` and `traffic-consumer`; scripts and systemd units rely on the numbers.
public enum ExitCode: Int32, Sendable {
  /// Done.
  case ok = 0
  /// Some of what was asked for was done, the rest is named on standard error.
  case partial = 1
  /// Nothing matched what was asked for.
  case nothingMatched = 2
  /// EX_USAGE: the command line is wrong.
  case usage = 64
  /// EX_DATAERR: the input given on the command line is wrong (a passkey, an id, a time).
  case badData = 65
  /// EX_UNAVAILABLE: Redis is not reachable and the command cannot do without.
  case unavailable = 69
  /// EX_IOERR: an I/O error or a corrupt database.
  case inputOutput = 74
  /// EX_TEMPFAIL: another process holds the lock.
  case locked = 75
  /// EX_CONFIG: the configuration is wrong.
  case configuration = 78
}
