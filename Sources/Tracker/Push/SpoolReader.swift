// SpoolReader: reads the files that earlier processes left, when the tracker starts. Made by PushSpool, on the main thread;
// PushSpoolFormat knows the bytes.

import CLinux
import Glibc
import Linux

final class SpoolReader {
  /// Beside the spool: the file of the processes that found one.
  static let runsSuffix = ".runs"
  /// Records in one read(2).
  private static let recordsPerRead = 512
  static let longestRead = recordsPerRead * PushSpoolFormat.recordBytes

  private let partition: Int
  private let partitionCount: Int
  private let metrics: PushMetrics
  private let clock: OrderClock
  private let buffer: UnsafeMutableRawPointer

  init(partition: Int, partitionCount: Int, metrics: PushMetrics, clock: OrderClock) {
    self.partition = partition
    self.partitionCount = partitionCount
    self.metrics = metrics
    self.clock = clock
    buffer = .allocate(byteCount: Self.longestRead, alignment: 8)
  }

  deinit { buffer.deallocate() }

  /// A tracker that was once started as another user, by hand as root, leaves files that only that one may open.
  static func cannotOpen(_ path: String) -> SystemError {
    let code = errno
    let advice = "another user left it: give it to the tracker's (chown --reference=\(folder(of: path)) \(path))"
    return SystemError("open", subject: path, code: code, advice: code == EACCES ? advice : "")
  }

  static func folder(of path: String) -> String {
    let folder = path.lastIndex(of: "/").map { String(path[..<$0]) } ?? "."
    return folder.isEmpty ? "/" : folder
  }

  /// More partitions than any site has: file names up to here are looked for.
  private static let maximumPartitions = 1024

  /// Throws when another number of partitions has left a file that no partition of this one would read.
  static func refuseForeignFiles(path: String, partitionCount: Int) throws(TrafficPushError) {
    var foreign = (0..<maximumPartitions).filter { $0 >= partitionCount || partitionCount == 1 }.map {
      "\(path).p\($0)"
    }
    if partitionCount > 1 { foreign.append(path) }
    foreign += [runsSuffix, AppliedFile.suffix].flatMap { suffix in foreign.map { $0 + suffix } }
    guard let found = foreign.first(where: { access($0, F_OK) == 0 }) else { return }
    throw refusal(found, "another value of partitions")
  }

  /// What is in a file, run by run; empty when there is none. A tail that was not written whole is left out. Throws when it
  /// is of another partitioning.
  func read(_ path: String) throws -> [SpooledRun] {
    guard let descriptor = try open(path), case .run(let newest, let anchor) = try readHeader(of: descriptor, path)
    else { return [] }
    let content = try readRecords(from: descriptor, newest: newest, anchor)
    let records = content.reduce(0) { $0 + $1.announces.count }
    guard records > 0 else {
      guard unlink(path) == 0 else { throw SystemError("unlink", subject: path) }
      return []
    }
    metrics.restored.add(UInt64(records))
    Log.info("announces restored from the spool", ["partition": partition, "records": records])
    return content
  }

  /// The calls that Redis had applied, in the order of the file, and of what was not told of the doubt; else as `read`.
  func readApplied(_ path: String) throws -> ([PushBatch], CommonClock.Doubt) {
    var calls: [PushBatch] = []
    var doubt = CommonClock.Doubt()
    guard let descriptor = try open(path), case .run = try readHeader(of: descriptor, path) else { return ([], doubt) }
    var end = PushSpoolFormat.headerBytes
    while let (call, extent) = try AppliedFile.read(descriptor, by: self) {
      calls.append(call)
      doubt.add(extent)
      end = Int(lseek(descriptor.number, 0, SEEK_CUR))
    }
    noteTorn(descriptor, at: end)
    guard !calls.isEmpty else {
      guard unlink(path) == 0 else { throw SystemError("unlink", subject: path) }
      return ([], doubt)
    }
    Log.info(
      "announces that redis had taken are held again: it is asked for them",
      ["partition": partition, "records": calls.reduce(0) { $0 + $1.count }])
    return (calls, doubt)
  }

  /// Nil when there is none.
  private func open(_ path: String) throws -> FileDescriptor? {
    let number = clinux_open(path, O_RDONLY, 0)
    if number < 0 && errno == ENOENT { return nil }
    guard number >= 0 else { throw Self.cannotOpen(path) }
    return FileDescriptor(owning: number)
  }

  /// A file that is damaged is put aside. Throws when it is of another partitioning.
  private func readHeader(of file: borrowing FileDescriptor, _ path: String) throws -> PushSpoolFormat.Header {
    let bytes = try read(PushSpoolFormat.headerBytes, from: file)
    let header = PushSpoolFormat.decodeHeader(bytes, partition: partition, partitionCount: partitionCount)
    switch header {
    case .run: break
    case .otherPartitioning(let count): throw Self.refusal(path, "partitions: \(count)")
    case .damaged:
      let aside = path + ".damaged"
      guard rename(path, aside) == 0 else { throw SystemError("rename", subject: path) }
      metrics.spoolErrors.add()
      Log.error("the spool is damaged and was put aside", ["path": aside])
    }
    return header
  }

  /// Of a file of another partitioning: `partitions` says of which.
  private static func refusal(_ path: String, _ partitions: String) -> TrafficPushError {
    let isOwed = !path.hasSuffix(AppliedFile.suffix)
    let what = isOwed ? "what redis has not taken" : "what redis had taken, and may have lost, when a tracker ended"
    let otherwise = isOwed ? "" : "; where redis has lost nothing since, the file may be deleted instead"
    return TrafficPushError(
      description: "traffic push: \(path) holds \(what), written with \(partitions): start once with that, while "
        + "redis answers, until the file is gone, then change it\(otherwise)")
  }

  /// Ends at the first record that is not whole.
  private func readRecords(from file: borrowing FileDescriptor, newest: PushRun, _ anchor: OrderClock.Anchor?)
    throws(SystemError) -> [SpooledRun]
  {
    var content = SpooledRuns(newest: newest)
    var ahead = clock.ahead(of: anchor)
    var bytes: UnsafeRawBufferPointer
    var place = 0
    repeat {
      bytes = try read(Self.longestRead, from: file)
      place = 0
      reading: while place + PushSpoolFormat.recordBytes <= bytes.count {
        let record = UnsafeRawBufferPointer(rebasing: bytes[place..<place + PushSpoolFormat.recordBytes])
        switch PushSpoolFormat.decode(record: record) {
        case .announce(let number, let announce, let doubt):
          content.add(SpooledAnnounce(number: number, announce: translated(announce, ahead)), doubt: doubt)
        case .run(let run, let anchor):
          content.begin(run)
          ahead = clock.ahead(of: anchor)
        case nil: break reading
        }
        place += PushSpoolFormat.recordBytes
      }
    } while place == bytes.count && place > 0
    noteTorn(file, at: Int(lseek(file.number, 0, SEEK_CUR)) - (bytes.count - place))
    return content.inOrder
  }

  /// What is behind `place` is not as it was written.
  private func noteTorn(_ file: borrowing FileDescriptor, at place: Int) {
    let torn = Int(lseek(file.number, 0, SEEK_END)) - place
    guard torn > 0 else { return }
    let records = (torn + PushSpoolFormat.recordBytes - 1) / PushSpoolFormat.recordBytes
    metrics.spoolTorn.add(UInt64(records))
    Log.warning(
      "the spool's tail was not written whole", ["partition": partition, "bytes": torn, "records": records])
  }

  /// An order by the clock of a process of this boot becomes one by this process', which is ahead of it.
  private func translated(_ announce: QueuedAnnounce, _ ahead: Int64?) -> QueuedAnnounce {
    guard announce.basis == .machine, let ahead else { return announce }
    var announce = announce
    announce.order = announce.order.corrected(byMicroseconds: ahead)
    announce.basis = .process
    return announce
  }

  /// The next so many bytes of a file, or fewer at its end. Valid until the next. No more than `longestRead`.
  func read(_ count: Int, from file: borrowing FileDescriptor) throws(SystemError) -> UnsafeRawBufferPointer {
    let number = file.number
    var have = 0
    while have < count {
      let got = retryingInterrupts { Glibc.read(number, buffer + have, count - have) }
      guard got >= 0 else { throw SystemError("read") }
      if got == 0 { break }
      have += got
    }
    return UnsafeRawBufferPointer(start: buffer, count: have)
  }
}
