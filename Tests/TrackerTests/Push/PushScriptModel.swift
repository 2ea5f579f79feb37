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
  }

  var creditFirstAnnounce = false
  var snapshots: [Session: Snapshot] = [:]
  var entries: [TrafficEvent] = []
  var resets: UInt64 = 0
  var late: UInt64 = 0
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
    var isLate = false
    if let last = snapshots[Session(record)] {
      snapshot = last
      elapsed = max(0, record.timestamp - last.timestamp)
      if record.uploaded >= last.uploaded && record.downloaded >= last.downloaded {
        deltas = (record.uploaded - last.uploaded, record.downloaded - last.downloaded)
      } else if queued.order < last.order && record.uploaded <= last.uploaded
        && record.downloaded <= last.downloaded
      {
        isLate = true
        late += 1
      } else {
        resets += 1
        snapshot.generation = run.generation(number)
        snapshot.baseUploaded = record.uploaded
        snapshot.baseDownloaded = record.downloaded
      }
    } else {
      snapshot = Snapshot(
        uploaded: 0, downloaded: 0, timestamp: record.timestamp, order: queued.order,
        generation: run.generation(number),
        baseUploaded: creditFirstAnnounce ? 0 : record.uploaded,
        baseDownloaded: creditFirstAnnounce ? 0 : record.downloaded)
      if creditFirstAnnounce { deltas = (record.uploaded, record.downloaded) }
    }
    if !isLate {
      snapshot.uploaded = record.uploaded
      snapshot.downloaded = record.downloaded
      snapshot.timestamp = record.timestamp
      snapshot.order = queued.order
    }
    snapshots[Session(record)] = snapshot
    entries.append(
      TrafficEvent(
        passkey: record.passkey, infoHash: record.infoHash, peerID: record.peerID, port: record.port,
        address: record.address, uploadedDelta: deltas.up, downloadedDelta: deltas.down, left: record.left,
        event: record.event, timestamp: record.timestamp, elapsedSeconds: UInt32(elapsed),
        intervalSeconds: record.intervalSeconds, minIntervalSeconds: record.minIntervalSeconds,
        counters: TrafficEvent.Counters(
          generation: snapshot.generation,
          creditedUpload: snapshot.uploaded - snapshot.baseUploaded,
          creditedDownload: snapshot.downloaded - snapshot.baseDownloaded),
        announces: queued.announces))
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
