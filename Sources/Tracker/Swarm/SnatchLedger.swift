// SnatchLedger: who has completed which torrent, so that a snatch is counted once per user however often `completed` is
// sent, and so that the counts survive a restart. Asked only for a completed download and for a torrent's first peer, while no
// shard is locked. Disk is touched by `flush` alone, on the expiry thread.
//
// File: records of 32 bytes, appended; what does not check at the end (a torn write) is cut off at the next start.
//   0 info hash 20 | 20 user 8 (SipHash of the passkey under the key below) | 28 check 4 (SipHash of the first 28, cut)

import CLinux
import Glibc
import Linux
import Synchronization
import Wire

/// Completed downloads.
final class SnatchLedger: Sendable {
  static let recordBytes = 32

  private struct State {
    /// 32 bits of each user: two users of one torrent with the same have a chance of one in four billion, and cost one
    /// count in a number for display; credits are the consumer's.
    var users: [InfoHash: Set<UInt32>] = [:]
    /// Snatches of each user, by the same 32 bits.
    var snatches: [UInt32: UInt32] = [:]
    var mostOfUser: UInt32 = 0
    var unwritten: [UInt8] = []

    /// Returns whether it is the user's first of the torrent.
    mutating func insert(_ infoHash: InfoHash, _ user: UInt32) -> Bool {
      guard users[infoHash, default: []].insert(user).inserted else { return false }
      snatches[user, default: 0] += 1
      mostOfUser = max(mostOfUser, snatches[user, default: 0])
      return true
    }
  }

  private let state = Mutex(State())
  private let file: FileDescriptor?
  /// The number of `file`, -1 without one.
  private let descriptor: Int32
  private let path: String
  private let failures = Mutex(RareLog(pauseNanoseconds: 60_000_000_000))
  private let refusals = Mutex(RareLog(pauseNanoseconds: 60_000_000_000))
  private let refused: Counter

  /// With a path the ledger is read from there and kept there; throws when it cannot be opened. Without one it is forgotten
  /// with the process.
  init(path: String?, metrics: MetricRegistry = MetricRegistry()) throws(SystemError) {
    refused = metrics.counter(
      "tracker_snatches_refused_total", help: "Snatches beyond max_snatches_per_user, which `downloaded` lacks.")
    guard let path else {
      file = nil
      descriptor = -1
      self.path = ""
      return
    }
    self.path = path
    let number = clinux_open(path, O_RDWR | O_CREAT | O_APPEND, 0o640)
    guard number >= 0 else { throw SystemError("open", subject: path) }
    file = FileDescriptor(owning: number)
    descriptor = number
    try load()
  }

  /// What a user is in the ledger: the same in every run, unlike UserKey.
  static func user(_ passkey: Passkey) -> UInt64 {
    passkey.withBytes { SipHash.hash($0, key: (0x736e_6174_6368_6573, 0x7074_2d74_7261_636b)) }
  }

  /// Completed downloads of a torrent.
  func count(_ infoHash: InfoHash) -> UInt32 { state.withLock { UInt32(clamping: $0.users[infoHash]?.count ?? 0) } }

  /// The most snatches of one user.
  var mostOfUser: UInt32 { state.withLock { $0.mostOfUser } }

  /// Notes a completed download, unless the user had one before, or has `limit` (0: none) of other torrents; returns those of
  /// the torrent afterwards.
  func record(_ infoHash: InfoHash, user: UInt64, limit: Int = 0) -> (count: UInt32, isNew: Bool) {
    let user32 = UInt32(truncatingIfNeeded: user)
    let (count, isNew, isRefused) = state.withLock { state in
      let isRefused =
        limit > 0 && state.snatches[user32, default: 0] >= limit
        && state.users[infoHash]?.contains(user32) != true
      let isNew = !isRefused && state.insert(infoHash, user32)
      if isNew && descriptor >= 0 { Self.append(infoHash, user, to: &state.unwritten) }
      return (UInt32(clamping: state.users[infoHash]?.count ?? 0), isNew, isRefused)
    }
    if isRefused { noteRefused() }
    return (count, isNew)
  }

  private func noteRefused() {
    refused.add()
    guard refusals.withLock({ $0.next() }) != nil else { return }
    Log.warning(
      "a user has completed more torrents than are remembered of one",
      ["limit": "max_snatches_per_user", "refused_total": refused.current])
  }

  private static func append(_ infoHash: InfoHash, _ user: UInt64, to buffer: inout [UInt8]) {
    var record = [UInt8](repeating: 0, count: recordBytes)
    record.withUnsafeMutableBytes { bytes in
      infoHash.store(to: bytes.baseAddress!)
      bytes.storeBytes(of: user.littleEndian, toByteOffset: 20, as: UInt64.self)
      let check = Self.check(UnsafeRawBufferPointer(bytes))
      bytes.storeBytes(of: check.littleEndian, toByteOffset: 28, as: UInt32.self)
    }
    buffer += record
  }

  private static func check(_ record: UnsafeRawBufferPointer) -> UInt32 {
    UInt32(truncatingIfNeeded: SipHash.hash(UnsafeRawBufferPointer(rebasing: record[..<28]), key: (1, 2)))
  }

  /// Writes what is new. What cannot be written is kept for the next time; a row of failures is logged once a minute.
  func flush() {
    guard descriptor >= 0 else { return }
    let batch = state.withLock { state in
      let batch = state.unwritten
      state.unwritten = []
      return batch
    }
    if batch.isEmpty { return }
    let written = batch.withUnsafeBytes { bytes in
      retryingInterrupts { Glibc.write(descriptor, bytes.baseAddress, bytes.count) }
    }
    guard written < batch.count else { return }
    let error = SystemError("write")
    if let suppressed = failures.withLock({ $0.next() }) {
      Log.warning(
        "snatches cannot be written, trying again",
        ["path": path, "error": error.description, "suppressed": suppressed])
    }
    // A part of a record would shift all that follow: cut it off and write it whole next time.
    let whole = max(0, written) / Self.recordBytes * Self.recordBytes
    if written > whole, let size = Self.size(descriptor) { ftruncate(descriptor, size - (written - whole)) }
    state.withLock { $0.unwritten.insert(contentsOf: batch[whole...], at: 0) }
  }

  private static func size(_ descriptor: Int32) -> Int? {
    var status = stat()
    return fstat(descriptor, &status) == 0 ? Int(status.st_size) : nil
  }

  private func load() throws(SystemError) {
    guard let size = Self.size(descriptor) else { throw SystemError("fstat", subject: path) }
    var bytes = [UInt8](repeating: 0, count: size)
    var read = 0
    while read < size {
      let count = bytes.withUnsafeMutableBytes { buffer in
        retryingInterrupts { Glibc.pread(descriptor, buffer.baseAddress! + read, size - read, read) }
      }
      guard count > 0 else { throw SystemError("read", subject: path) }
      read += count
    }
    let valid = state.withLock { state in Self.replay(bytes, into: &state) }
    guard valid < size else { return }
    Log.warning("the last snatches were torn by a crash and are cut off", ["path": path, "bytes": size - valid])
    guard ftruncate(descriptor, valid) == 0 else { throw SystemError("ftruncate", subject: path) }
  }

  /// Returns how many bytes are whole records from the start.
  private static func replay(_ bytes: [UInt8], into state: inout State) -> Int {
    bytes.withUnsafeBytes { bytes in
      var offset = 0
      while offset + recordBytes <= bytes.count {
        let record = UnsafeRawBufferPointer(rebasing: bytes[offset..<offset + recordBytes])
        let stored = UInt32(littleEndian: record.loadUnaligned(fromByteOffset: 28, as: UInt32.self))
        guard stored == check(record) else { break }
        let user = UInt64(littleEndian: record.loadUnaligned(fromByteOffset: 20, as: UInt64.self))
        _ = state.insert(InfoHash(record.baseAddress!), UInt32(truncatingIfNeeded: user))
        offset += recordBytes
      }
      return offset
    }
  }
}
