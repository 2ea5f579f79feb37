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
    buffer = .allocate(byteCount: Self.recordsPerRead * PushSpoolFormat.recordBytes, alignment: 8)
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
    foreign += foreign.map { $0 + runsSuffix }
    guard let found = foreign.first(where: { access($0, F_OK) == 0 }) else { return }
    throw TrafficPushError(
      description:
        "traffic push: the spool \(found) was written with another value of partitions; start once with that "
        + "value until it is published, then change it")
  }

  /// What is in a file, run by run; empty when there is none. A tail that was not written whole is left out. Throws when it
  /// is of another partitioning.
  func read(_ path: String) throws -> [SpooledRun] {
    let number = clinux_open(path, O_RDONLY, 0)
    if number < 0 && errno == ENOENT { return [] }
    guard number >= 0 else { throw Self.cannotOpen(path) }
    let descriptor = FileDescriptor(owning: number)
    let header = try read(PushSpoolFormat.headerBytes, from: descriptor)
    let content: [SpooledRun]
    switch PushSpoolFormat.decodeHeader(header, partition: partition, partitionCount: partitionCount) {
    case .run(let newest, let anchor): content = try readRecords(from: descriptor, newest: newest, anchor)
    case .otherPartitioning(let count):
      throw TrafficPushError(
        description: "traffic push: the spool \(path) was written with partitions: \(count); start once with that "
          + "value until it is published, then change it")
    case .damaged:
      let aside = path + ".damaged"
      guard rename(path, aside) == 0 else { throw SystemError("rename", subject: path) }
      metrics.spoolErrors.add()
      Log.error("the spool is damaged and was put aside", ["path": aside])
      return []
    }
    let records = content.reduce(0) { $0 + $1.announces.count }
    guard records > 0 else {
      guard unlink(path) == 0 else { throw SystemError("unlink", subject: path) }
      return []
    }
    metrics.restored.add(UInt64(records))
    Log.info("announces restored from the spool", ["partition": partition, "records": records])
    return content
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
      bytes = try read(Self.recordsPerRead * PushSpoolFormat.recordBytes, from: file)
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
    let unread = Int(-lseek(file.number, 0, SEEK_CUR) + lseek(file.number, 0, SEEK_END))
    let torn = bytes.count - place + unread
    if torn > 0 {
      let records = (torn + PushSpoolFormat.recordBytes - 1) / PushSpoolFormat.recordBytes
      metrics.spoolTorn.add(UInt64(records))
      Log.warning(
        "the spool's tail was not written whole", ["partition": partition, "bytes": torn, "records": records])
    }
    return content.inOrder
  }

  /// An order by the clock of a process of this boot becomes one by this process', which is ahead of it.
  private func translated(_ announce: QueuedAnnounce, _ ahead: Int64?) -> QueuedAnnounce {
    guard announce.basis == .machine, let ahead else { return announce }
    var announce = announce
    announce.order = announce.order.corrected(byMicroseconds: ahead)
    announce.basis = .process
    return announce
  }

  /// The next so many bytes of a file, or fewer at its end. Valid until the next.
  private func read(_ count: Int, from file: borrowing FileDescriptor) throws(SystemError) -> UnsafeRawBufferPointer {
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
