// What ReaderSession and the shell around it say to each other: the session asks for one thing at a time (ReaderAction),
// what came of it is the next event (ReaderEvent), and with each event comes what the session cannot know by itself
// (ReaderSituation). Values; the thread of the reader, or a simulator.

import Redis

/// What the shell is to do next.
enum ReaderAction {
  /// Make a new connection; the one before, if there was one, is of no more use. Leads to `connected`.
  case connect
  /// Ask Redis; leads to the event of the answer.
  case ask(StreamQuestion)
  /// Hand entries to the writer. Leads to `done`, at once.
  case submit(StreamDelivery)
  /// Have the writer change what is stored of the stream. Leads to `done` when it is durable.
  case store(StreamChange)
  /// Wait until the writer gives something back or something else changes, a limited time. Leads to `waited`.
  case wait(for: ReaderWait, milliseconds: Int)
  /// Wait, but not longer than until the daemon is told to stop. Leads to `done`.
  case pause(milliseconds: Int)
  /// Log it, or tell the rest of the daemon. Leads to `done`, at once.
  case report(ReaderReport)
  /// Nothing is left to do.
  case end
}

/// What is asked of Redis.
enum StreamQuestion {
  case createGroup
  case claimGroup(for: String, replacing: Bool)
  case census
  /// How things stand, and what waits behind the group's position or this entry. Not exactly when that is only for showing:
  /// with entries in flight nothing else comes of it.
  case survey(beyond: EntryID, isExact: Bool)
  case entries([EntryID])
  case ownPending(after: EntryID, count: Int)
  case range(StreamSpan, count: Int)
  case new(count: Int, blockMilliseconds: Int, acknowledging: [StreamDelivery])
  case acknowledge([StreamDelivery])
  case claim(idleMilliseconds: Int, cursor: EntryID, count: Int)
  case empty([AppliedRanges.Gap])
  case trim(below: EntryID, ifDeliveredTo: EntryID)
}

/// What is waited for.
enum ReaderWait {
  /// Something to acknowledge, or room for more, or the stop.
  case turn
  /// Something to acknowledge, or that nothing is with the writer any more.
  case done
  /// Room for more, or the stop.
  case room
}

/// What came of an action.
enum ReaderEvent {
  case started
  case connected
  case done
  case groupCreated(isNew: Bool)
  /// The database that the group's entries go to.
  case groupOwner(String)
  case census(StreamCensus)
  case survey(StreamSurvey)
  /// What the entries asked for hold; nil for those that are gone.
  case found([EntryFields?])
  /// Entries of the stream; of none there are.
  case entries(StreamDelivery)
  case claimed(ClaimedEntries)
  case empty([AppliedRanges.Gap])
  case trimmed(Int64, below: EntryID)
  /// Redis does not let this user trim.
  case trimRefused(String)
  /// What the writer has given back: `settled` of each is durable.
  case waited(done: [StreamDelivery])
  /// Redis did not do it, or the writer could not.
  case failed(RedisError)
}

/// How things stand at the time of an event.
struct ReaderSituation {
  var monotonicNanoseconds: UInt64
  var unixMilliseconds: UInt64
  var isStopping = false
  /// The writer takes more deliveries.
  var hasRoom = true
  /// Deliveries of this stream that the writer has, or has given back and that were not taken.
  var outstanding = 0
  var isWriterInTrouble = false
  /// The stream as of the latest commit.
  var known: StreamState
  /// The latest request to read the past again.
  var healRequest: HealRequest?
}

/// `heal` asks every reader to read its stream again from an id on.
struct HealRequest: Equatable, Sendable {
  var serial: Int
  var from: EntryID
}

/// What others want to know of a reader.
enum ReaderReport {
  case groupCreated
  /// The group's entries go to another database: the daemon cannot go on.
  case foreignGroup(owner: String)
  case rolledBack(to: EntryID)
  case newEpoch
  case connected
  case pendingAgain(entries: Int)
  case pastRead(entries: Int)
  case caughtUp
  case claimed(entries: Int)
  case surveyed(StreamSurvey)
  case healed(serial: Int)
  case trimmed(Int64, below: EntryID)
  case trimRefused(String)
  case lost(RedisError, retryMilliseconds: Int)
}
