// Faults of the files in which trackers keep what Redis has not taken, and of their disk.

import Glibc

@testable import Tracker

extension World {
  func applyToDisk(_ fault: Fault) {
    func dead(_ index: Int) -> SimulatedTracker? {
      let tracker = trackers[index % trackers.count]
      return tracker.process == nil && tracker.spoolPath != nil ? tracker : nil
    }
    // What Redis has forgotten may have been in it.
    if case .diskFull = fault {} else if trouble.hasForgotten { trouble.hasLostWitnesses = true }
    switch fault {
    case .spoolLost(let index):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      unlink(path)
      unlink(path + SpoolReader.runsSuffix)
      unlink(path + AppliedFile.suffix)
    case .spoolTorn(let index, let bytes):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      let file = newest(path)
      var status = stat()
      if stat(file, &status) == 0 { truncate(file, max(0, status.st_size - bytes)) }
    case .spoolGarbled(let index, let bytes):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      garble(newest(path), bytes)
    case .spoolFlipped(let index, let fromEnd):
      guard let tracker = dead(index), let path = tracker.spoolPath else { return }
      tracker.excuseUnsaved()
      flip(path, fromEnd)
    case .spoolSaved(let index):
      let tracker = trackers[index % trackers.count]
      guard let path = tracker.spoolPath else { return }
      copyFile(path, to: path + ".saved")
    case .spoolOld(let index):
      guard let tracker = dead(index), let path = tracker.spoolPath, access(path + ".saved", F_OK) == 0 else { return }
      tracker.excuseUnsaved()
      copyFile(path + ".saved", to: path)
    case .diskFull(let index, let isFull):
      // A shutdown that cannot write its spool counts what it gives up.
      if isFull { trouble.note(.reported) }
      setDisk(full: isFull, of: trackers[index % trackers.count])
    default: break
    }
  }

  func setDisk(full: Bool, of tracker: SimulatedTracker) {
    guard let path = tracker.spoolPath else { return }
    // What opens the new file writes to a device that is always full.
    for path in [path, path + SpoolReader.runsSuffix] {
      unlink(path + ".new")
      if full { symlink("/dev/full", path + ".new") }
    }
  }

  /// Of a tracker's two files the one that was written last.
  private func newest(_ path: String) -> String {
    let other = path + SpoolReader.runsSuffix
    return access(other, F_OK) == 0 ? other : path
  }

  private func garble(_ path: String, _ bytes: Int) {
    guard let file = fopen(path, "r+") else { return }
    defer { fclose(file) }
    fseek(file, 0, SEEK_END)
    let count = min(bytes, ftell(file))
    fseek(file, -count, SEEK_END)
    for _ in 0..<count { fputc(Int32(random.below(256)), file) }
  }

  private func flip(_ path: String, _ fromEnd: Int) {
    guard let file = fopen(path, "r+") else { return }
    defer { fclose(file) }
    guard fseek(file, -fromEnd, SEEK_END) == 0 else { return }
    let byte = fgetc(file)
    fseek(file, -fromEnd, SEEK_END)
    fputc(byte ^ Int32(1 + random.below(255)), file)
  }

  func copyFile(_ source: String, to target: String) {
    guard let input = fopen(source, "r") else { return }
    defer { fclose(input) }
    guard let output = fopen(target, "w") else { return }
    defer { fclose(output) }
    var buffer = [UInt8](repeating: 0, count: 65_536)
    while case let count = fread(&buffer, 1, buffer.count, input), count > 0 { fwrite(buffer, 1, count, output) }
  }
}
