// PushScriptModel: the delta rules of accounting.md as a plain Swift value: the oracle that PushScript is compared with.
// It shares no text with the script but the names of the fields.

import Wire

@testable import Tracker

/// What the script must leave behind: entries and snapshots.
struct PushScriptModel {
  struct Session: Hashable {
    var passkey: Passkey
    var infoHash: InfoHash
    var peerID: PeerID
    init(_ record: AnnounceRecord) {
      passkey = record.passkey
      infoHash = record.infoHash
      peerID = record.peerID
    }
  }
  struct Snapshot: Equatable {
    var uploaded: UInt64
    var downloaded: UInt64
    var timestamp: Int64
    var order: UInt64
    var generation: TrafficGeneration
    var baseUploaded: UInt64
    var baseDownloaded: UInt64
    var began: Beginning
    /// After a reset.
    var before: Before?
    /// The one before that.
    var older: Before?
  }
  /// How a generation began.
  struct Beginning: Equatable {
    var order: UInt64
    var wasStarted: Bool
    /// Another announce that may be of another life was within the clocks' tolerance.
    var isHasty = false

    init(_ queued: QueuedAnnounce, isHasty: Bool = false) {
      order = queued.order
      wasStarted = queued.record.event == .started
      self.isHasty = isHasty
    }
    func isNear(_ other: UInt64) -> Bool {
      other + PushScriptModel.clockTolerance >= order && other < order + PushScriptModel.clockTolerance
    }
    func isBeside(_ other: UInt64) -> Bool { isHasty && isNear(other) }
  }
  struct Before: Equatable {
    var began: Beginning
    var generation: TrafficGeneration
    var base: Counted
    var last: Counted
    var timestamp: Int64
  }
  /// Counters, of which one is after another if none is lower.
  struct Counted: Equatable {
    var up: UInt64
    var down: UInt64
    static func >= (left: Self, right: Self) -> Bool { left.up >= right.up && left.down >= right.down }
    static func - (left: Self, right: Self) -> Self { Self(up: left.up - right.up, down: left.down - right.down) }
  }

  /// Microseconds by which clocks of trackers may differ.
  static let clockTolerance: UInt64 = 2_000_000

  var creditFirstAnnounce = false
  var snapshots: [Session: Snapshot] = [:]
  var entries: [TrafficEvent] = []
  var resets: UInt64 = 0
  var late: UInt64 = 0
  var unknown: UInt64 = 0
  var tooLarge: UInt64 = 0

  /// Applies one record; `number` is its place in the run that is of the run.
  mutating func apply(_ queued: QueuedAnnounce, number: UInt64, run: PushRun) {
    let record = queued.record
    guard record.uploaded <= 1 << 53, record.downloaded <= 1 << 53 else {
      tooLarge += 1
      return
    }
    var snapshot: Snapshot
    var deltas: (up: UInt64, down: UInt64) = (0, 0)
    var elapsed: Int64 = 0
    if let last = snapshots[Session(record)] {
      if queued.order < last.order, let entry = applyLate(queued, last, run.generation(number)) {
        late += 1
        entries.append(entry)
        return
      }
      snapshot = last
      elapsed = max(0, record.timestamp - last.timestamp)
      let isStart =
        record.event == .started && record.uploaded == 0 && record.downloaded == 0
        && queued.order >= last.order + Self.clockTolerance
      if record.uploaded >= last.uploaded && record.downloaded >= last.downloaded, !isStart {
        deltas = (record.uploaded - last.uploaded, record.downloaded - last.downloaded)
        snapshot.hurry(queued, after: last.order)
      } else {
        if record.uploaded < last.uploaded || record.downloaded < last.downloaded { resets += 1 }
        snapshot.older = last.before
        snapshot.before = Before(
          began: last.began, generation: last.generation,
          base: Counted(up: last.baseUploaded, down: last.baseDownloaded),
          last: Counted(up: last.uploaded, down: last.downloaded), timestamp: last.timestamp)
        snapshot.began = Beginning(queued, isHasty: queued.order < last.order + Self.clockTolerance)
        snapshot.generation = run.generation(number)
        snapshot.baseUploaded = record.uploaded
        snapshot.baseDownloaded = record.downloaded
      }
    } else if record.isGone {
      return
    } else {
      snapshot = Snapshot(
        uploaded: 0, downloaded: 0, timestamp: record.timestamp, order: queued.order,
        generation: run.generation(number),
        baseUploaded: creditFirstAnnounce ? 0 : record.uploaded,
        baseDownloaded: creditFirstAnnounce ? 0 : record.downloaded, began: Beginning(queued))
      if creditFirstAnnounce { deltas = (record.uploaded, record.downloaded) }
    }
    snapshot.uploaded = record.uploaded
    snapshot.downloaded = record.downloaded
    snapshot.timestamp = record.timestamp
    snapshot.order = queued.order
    snapshots[Session(record)] = snapshot
    entries.append(
      Self.entry(
        queued, Counted(up: deltas.up, down: deltas.down), elapsed, snapshot.generation,
        Counted(up: record.uploaded - snapshot.baseUploaded, down: record.downloaded - snapshot.baseDownloaded)))
  }

  private static func entry(
    _ queued: QueuedAnnounce, _ deltas: Counted, _ elapsed: Int64, _ generation: TrafficGeneration, _ credited: Counted
  ) -> TrafficEvent {
    let record = queued.record
    return TrafficEvent(
      passkey: record.passkey, infoHash: record.infoHash, peerID: record.peerID, port: record.port,
      address: record.address, uploadedDelta: deltas.up, downloadedDelta: deltas.down, left: record.left,
      event: record.event, timestamp: record.timestamp, elapsedSeconds: UInt32(elapsed),
      intervalSeconds: record.intervalSeconds, minIntervalSeconds: record.minIntervalSeconds,
      counters: TrafficEvent.Counters(
        generation: generation, creditedUpload: credited.up, creditedDownload: credited.down),
      announces: queued.announces, order: queued.order / 16)
  }

  /// An announce that was made before the snapshot's, by the same run; nil when its counters say that it is the later one.
  private mutating func applyLate(_ queued: QueuedAnnounce, _ last: Snapshot, _ name: TrafficGeneration)
    -> TrafficEvent?
  {
    let record = queued.record
    let here = Counted(up: record.uploaded, down: record.downloaded)
    let newest = Counted(up: last.uploaded, down: last.downloaded)
    let base = Counted(up: last.baseUploaded, down: last.baseDownloaded)
    let nothing = Counted(up: 0, down: 0)
    let elapsed = max(0, record.timestamp - last.timestamp)
    let stale = Self.entry(queued, nothing, elapsed, last.generation, newest - base)
    func isComparable(_ one: Counted, _ other: Counted) -> Bool { one >= other || other >= one }
    if here == newest, queued.order >= last.began.order || last.order - queued.order <= 50_000 { return stale }
    if here == base, let before = last.before, record.timestamp > before.timestamp {
      let isRestart =
        queued.order >= last.began.order + Self.clockTolerance && newest != base
        || queued.order + Self.clockTolerance < last.began.order && last.began.wasStarted
      if record.event == .started && isRestart || last.began.isBeside(queued.order) { unknown += 1 }
      return stale
    }
    if queued.order >= last.began.order {
      if here >= newest {
        unknown += 1
        return nil
      }
      let isRepeated = here == base && queued.order < last.began.order + Self.clockTolerance
      if here >= base && newest >= here, record.event != .started || isRepeated || newest == base,
        !last.began.isBeside(queued.order)
      {
        return stale
      }
    } else if base >= here, here != base, record.event == .started || last.before == nil,
      last.before.map({ record.timestamp > $0.timestamp }) ?? true
    {
      snapshots[Session(record)]!.baseUploaded = here.up
      snapshots[Session(record)]!.baseDownloaded = here.down
      if last.began.wasStarted { unknown += 1 }
      snapshots[Session(record)]!.began = Beginning(queued)
      return Self.entry(queued, base - here, elapsed, last.generation, newest - here)
    } else if let before = last.before, queued.order >= before.began.order, here >= before.base,
      isComparable(here, before.last)
    {
      if before.last >= here {
        if before.isUntold(queued, here) || last.began.isBeside(queued.order) { unknown += 1 }
        return stale
      }
      snapshots[Session(record)]!.before!.last = here
      snapshots[Session(record)]!.before!.timestamp = max(before.timestamp, record.timestamp)
      return Self.entry(
        queued, here - before.last, max(0, record.timestamp - before.timestamp), before.generation, here - before.base)
    } else if last.before == nil, !(base >= here) || here == base {
      snapshots[Session(record)]!.before = Before(
        began: Beginning(queued), generation: name, base: here, last: here, timestamp: record.timestamp)
      return Self.entry(queued, nothing, 0, name, nothing)
    } else if let before = last.before, queued.order < before.began.order, let older = last.older,
      queued.order < before.began.order - Self.clockTolerance,
      queued.order >= older.began.order - Self.clockTolerance,
      here >= older.base, isComparable(here, older.last)
    {
      if older.last >= here {
        if older.isUntold(queued, here) { unknown += 1 }
        return stale
      }
      if queued.order >= older.began.order + Self.clockTolerance {
        snapshots[Session(record)]!.older!.last = here
        snapshots[Session(record)]!.older!.timestamp = max(older.timestamp, record.timestamp)
        return Self.entry(
          queued, here - older.last, max(0, record.timestamp - older.timestamp), older.generation, here - older.base)
      }
    } else if let before = last.before, last.older == nil, queued.order < before.began.order - Self.clockTolerance,
      before.base >= here
    {
      if before.began.wasStarted, here != before.base { unknown += 1 }
      snapshots[Session(record)]!.before!.began = Beginning(queued)
      snapshots[Session(record)]!.before!.base = here
      return Self.entry(
        queued, before.base - here, max(0, record.timestamp - before.timestamp), before.generation, before.last - here)
    }
    unknown += 1
    return stale
  }
}

extension PushScriptModel.Snapshot {
  /// Something is moved, or the client starts, so soon after the beginning.
  fileprivate mutating func hurry(_ queued: QueuedAnnounce, after last: UInt64) {
    let record = queued.record
    guard uploaded == baseUploaded, downloaded == baseDownloaded, began.isNear(queued.order) else { return }
    let hasMoved = record.uploaded > uploaded || record.downloaded > downloaded
    if hasMoved || record.event == .started && queued.order >= last + 50_000 { began.isHasty = true }
  }
}

extension PushScriptModel.Before {
  /// A late announce that adds nothing may be of a life that is not known.
  fileprivate func isUntold(_ queued: QueuedAnnounce, _ here: PushScriptModel.Counted) -> Bool {
    queued.record.event == .started && (here != base || !began.isNear(queued.order)) || began.isBeside(queued.order)
  }
}

extension PushRun {
  /// The generation that record `number` begins: RFC 4648's digits of 48 bits, the lowest bits last.
  func generation(_ number: UInt64) -> TrafficGeneration {
    let letters = Array("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")
    let value = generationBase &+ number
    return TrafficGeneration(String((0..<8).map { letters[Int(value >> UInt64(6 * (7 - $0)) & 63)] }))!
  }
}
