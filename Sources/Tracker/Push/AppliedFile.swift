// AppliedFile: the file beside a spool in which calls that Redis had applied outlive a process, where it cannot be known at its
// end that Redis still has them: Redis was away, or had not taken back what it lost. The next process holds them as this
// one did, asks Redis for them, and gives back what is missing, as it was: nothing is sent for a second time. Written by
// PushSpool at the end, on the publisher's thread, and read at the start, on the main thread.
//
//     header, 48 bytes, as a spool has (PushSpoolFormat), then calls, oldest first; all integers little-endian:
//     0 run id (8)   8 generation base (8)   16 number of the first record (8)   24 records (4)
//     28 the first of them that the script told of (4)   32 the one behind the last (4)   36 bytes of what it told (4)
//     40 CRC-32 of that (4)   44 CRC-32 of bytes 0...43
//     48 the records, as in a spool, with the orders that the script was told; then what it told of them

import CLinux
import Glibc
import Linux

enum AppliedFile {
  static let suffix = ".applied"
  private static let callBytes = 48
  /// Bytes in one write(2), or some more.
  private static let bytesPerWrite = 65_536

  /// A call's head.
  private struct Head {
    var run: PushRun
    var first: UInt64
    var records: Int
    var tailsFirst: UInt64
    var tailsEnd: UInt64
    var tailBytes: Int
    var tailSum: UInt32

    init(_ batch: PushBatch) {
      (run, first, records) = (batch.run, batch.first, batch.count)
      tailBytes = batch.tails.count
      (tailsFirst, tailsEnd) = tailBytes > 0 ? (batch.tailsFirst, batch.tailsEnd) : (first, first)
      tailSum = batch.tails.withUnsafeBytes { CRC32.checksum($0) }
    }

    /// Nil when the bytes are not as they were written, or say what no version writes.
    init?(_ bytes: UnsafeRawBufferPointer) {
      func get<Value: FixedWidthInteger>(_ type: Value.Type, at offset: Int) -> Value {
        Value(littleEndian: bytes.loadUnaligned(fromByteOffset: offset, as: type))
      }
      guard bytes.count == callBytes,
        get(UInt32.self, at: 44) == CRC32.checksum(UnsafeRawBufferPointer(rebasing: bytes[..<44]))
      else { return nil }
      run = PushRun(id: get(UInt64.self, at: 0), generationBase: get(UInt64.self, at: 8))
      first = get(UInt64.self, at: 16)
      records = Int(get(UInt32.self, at: 24))
      tailsFirst = first &+ UInt64(get(UInt32.self, at: 28))
      tailsEnd = first &+ UInt64(get(UInt32.self, at: 32))
      tailBytes = Int(get(UInt32.self, at: 36))
      tailSum = get(UInt32.self, at: 40)
      guard records > 0, records * PushSpoolFormat.recordBytes <= SpoolReader.longestRead,
        tailBytes <= SpoolReader.longestRead, first <= tailsFirst, tailsFirst <= tailsEnd,
        tailsEnd <= first &+ UInt64(records)
      else { return nil }
    }

    func write(to target: UnsafeMutableRawPointer) {
      func put<Value: FixedWidthInteger>(_ value: Value, at offset: Int) {
        target.storeBytes(of: value.littleEndian, toByteOffset: offset, as: Value.self)
      }
      put(run.id, at: 0)
      put(run.generationBase, at: 8)
      put(first, at: 16)
      put(UInt32(records), at: 24)
      put(UInt32(tailsFirst - first), at: 28)
      put(UInt32(tailsEnd - first), at: 32)
      put(UInt32(tailBytes), at: 36)
      put(tailSum, at: 40)
      put(CRC32.checksum(UnsafeRawBufferPointer(start: target, count: 44)), at: 44)
    }
  }

  /// Writes it anew; what was there stays if that fails. `doubt` is of the orders.
  static func write(_ calls: [PushBatch], to path: String, header: [UInt8], doubt: CommonClock.Doubt)
    throws(SystemError)
  {
    let fresh = path + ".new"
    let number = clinux_open(fresh, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
    guard number >= 0 else { throw SystemError("open", subject: fresh) }
    let file = FileDescriptor(owning: number)
    do throws(SystemError) {
      var bytes = header
      for batch in calls {
        append(batch, doubt, to: &bytes)
        if bytes.count >= bytesPerWrite { try flush(&bytes, to: file, fresh) }
      }
      try flush(&bytes, to: file, fresh)
      guard fdatasync(file.number) == 0 else { throw SystemError("fdatasync", subject: fresh) }
      guard rename(fresh, path) == 0 else { throw SystemError("rename", subject: fresh) }
    } catch {
      unlink(fresh)
      throw error
    }
  }

  private static func append(_ batch: PushBatch, _ doubt: CommonClock.Doubt, to bytes: inout [UInt8]) {
    let at = bytes.count
    bytes.append(contentsOf: repeatElement(0, count: callBytes + batch.count * PushSpoolFormat.recordBytes))
    bytes.withUnsafeMutableBytes {
      var target = $0.baseAddress! + at
      Head(batch).write(to: target)
      target += callBytes
      for (offset, announce) in batch.told.enumerated() {
        PushSpoolFormat.encode(
          batch.first + UInt64(offset), announce, doubt: doubt.extent(at: announce.order), to: target)
        target += PushSpoolFormat.recordBytes
      }
    }
    bytes += batch.tails
  }

  private static func flush(_ bytes: inout [UInt8], to file: borrowing FileDescriptor, _ path: String)
    throws(SystemError)
  {
    let number = file.number
    let count = bytes.withUnsafeBytes { bytes in
      var written = 0
      while written < bytes.count {
        let count = retryingInterrupts { Glibc.write(number, bytes.baseAddress! + written, bytes.count - written) }
        guard count > 0 else { break }
        written += count
      }
      return written
    }
    guard count == bytes.count else { throw SystemError("write", subject: path) }
    bytes.removeAll(keepingCapacity: true)
  }

  /// The next call of a file behind its header, and what its order is in doubt by; nil at its end, or where it is not as
  /// it was written.
  static func read(_ file: borrowing FileDescriptor, by reader: SpoolReader) throws(SystemError)
    -> (PushBatch, CommonClock.Doubt)?
  {
    guard let head = Head(try reader.read(callBytes, from: file)) else { return nil }
    var announces: [QueuedAnnounce] = []
    var doubt = CommonClock.Doubt()
    announces.reserveCapacity(head.records)
    let records = try reader.read(head.records * PushSpoolFormat.recordBytes, from: file)
    guard records.count == head.records * PushSpoolFormat.recordBytes else { return nil }
    for index in 0..<head.records {
      let record = UnsafeRawBufferPointer(
        rebasing: records[index * PushSpoolFormat.recordBytes..<(index + 1) * PushSpoolFormat.recordBytes])
      guard case .announce(let number, let announce, let extent) = PushSpoolFormat.decode(record: record),
        number == head.first + UInt64(index)
      else { return nil }
      announces.append(announce)
      doubt.add(extent, at: announce.order)
    }
    let tails = try reader.read(head.tailBytes, from: file)
    guard tails.count == head.tailBytes, CRC32.checksum(tails) == head.tailSum else { return nil }
    let batch = PushBatch(
      run: head.run, first: head.first, announces: announces, tails: Array(tails), tailsFirst: head.tailsFirst,
      tailsEnd: head.tailsEnd)
    // What is given back as it was is not put in order anew.
    return (batch, batch.isWhollyRestorable ? CommonClock.Doubt() : doubt)
  }
}
