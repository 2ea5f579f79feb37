// PushAction: the language between PushSession, which decides, and StreamPublisher, which does: actions out, events in, and
// what is to be told besides. Values.

import Redis

extension PushSession {
  /// One thing to do, and which event says that it is done. Each may instead end with `failed`, but for those that do not
  /// need Redis.
  enum Action {
    /// Open a connection to where the partition's stream is, or to the node that a MOVED or ASK names: `done`.
    case connect(RedisTimeouts, redirectedBy: RedisServerError?)
    /// Close the connection: `done`.
    case disconnect
    /// Have Redis know the script: `scriptLoaded`.
    case loadScript(PushScript.Name)
    /// Send a call, behind an ASKING if so: `done`. Its reply comes later.
    case send(PushBatch, isAsking: Bool)
    /// Take the next reply if it comes within this time: `reply`, else `timePassed`.
    case awaitReply(milliseconds: Int)
    /// Read the replies that are still owed: `done`.
    case discardReplies
    /// Make a call without records, which tells what Redis expects next; with `gapFrom`, where it is, it is to expect `next`:
    /// `reply`.
    case askPlace(PushCall, next: UInt64, gapFrom: PushCall.Gap?)
    /// Send a call that gives the records of an applied one back, but for the first `done`: `done`. Its reply comes later.
    case restore(PushBatch, PushCall, scriptHash: String, given: PushCall.GivenBack, done: Int)
    /// Wait for the reply to the first of those calls: `restored`.
    case awaitRestored
    /// Ask what the clock is that trackers have in common: `done`. The answer comes later.
    case askTime(CommonClock.Question)
    /// Take the answer if it comes within this time: `time`, else `timePassed`.
    case awaitTime(milliseconds: Int)
    /// Sleep until there is something in the queue or it is time to stop: `woken`; else `timePassed`.
    case awaitAnnounces(milliseconds: Int)
    /// Sleep, unless it is time to stop: `timePassed`.
    case pause(milliseconds: Int)
    /// Bring the spool up to date with `window` and the queue, and have it keep what is `doubtful`: `spooled`.
    case writeSpool
    /// All of the spool is applied, and Redis has it: remove it: `spooled`.
    case removeSpool
    /// It is over.
    case finish
  }

  /// How an action ended. `done` is also what begins a session.
  enum Event {
    case done
    case scriptLoaded(hash: String)
    /// `tails` is what the script told of the records it applied; it is valid until the next action.
    case reply(PushScript.Reply, tails: UnsafeRawBufferPointer?)
    /// How many of the call's records are given back, fewer than all when the stream has no room for more, and the number of
    /// entries that were added for them; nil: Redis has forgotten again.
    case restored(records: Int?, entries: UInt64)
    case time(CommonClock.Answer)
    case woken
    case timePassed
    case spooled(SpoolState)
    case failed(RedisError)
  }

  /// What happened, for the log.
  enum Note: Equatable {
    case connected
    /// The first failure, or the one after which Redis counts as away.
    case failed(RedisError, attempt: Int)
    /// Announces with impossible counters; once a minute.
    case refused
    /// Redis was rolled back to a moment that is remembered.
    case sendingAgain(records: UInt64)
    /// Redis was rolled back further, or is empty (`found` is 0): so many of its records are not held.
    case lost(expected: UInt64, found: UInt64, records: UInt64)
    case gaveBack(records: UInt64)
    /// Redis expects record `found` of this run, and `expected` is the next.
    case abandonedRun(expected: UInt64, found: UInt64)
    /// What Redis' clock is ahead of this machine's.
    case clocksDiffer(seconds: Int64)
    /// Redis' clock went ahead by so much, or back.
    case clockSet(milliseconds: Int64)
    /// This machine's clocks did, or Redis' was set and nobody is left who knew it.
    case stoodStill(milliseconds: Int64)
    /// At the end: what Redis did not take.
    case spooledRest(announces: Int)
    case gaveUpRest(announces: Int)
    /// The same of what it had taken, and was not asked for since it was away, or did not take back.
    case spooledDoubtful(announces: Int)
    case gaveUpDoubtful(announces: Int)
  }

  /// What is to be counted and logged since it was taken last.
  struct Tally {
    var published: UInt64 = 0
    var duplicates: UInt64 = 0
    var retries: UInt64 = 0
    var full: UInt64 = 0
    var gaps: UInt64 = 0
    var lostToFailover: UInt64 = 0
    var resent: UInt64 = 0
    var refusedShutdown: UInt64 = 0
    var abandonedRuns: UInt64 = 0
    /// Of the script's counts what they grew by.
    var counts = PushScript.Reply.Counts()
    var errors: [RedisError] = []
    var notes: [Note] = []
    var isTroubleNew = false
  }
}

/// What PushSession knows of the spool.
struct SpoolState: Equatable {
  /// Whether there is a file.
  var isActive = false
  /// Everything below this number is in it.
  var through: UInt64 = 0
  /// Why the last write failed; nil when it did not.
  var trouble: String?
  /// Whether there is one of applied calls, all that it was given last.
  var keepsApplied = false
  var hasFile: Bool { isActive || keepsApplied }
}
