// Faults of consumers, of their database, and of the stream between them and the trackers.

import Glibc

@testable import TrafficConsumer

extension World {
  func applyToConsumers(_ fault: Fault) {
    guard !consumers.isEmpty else { return }
    func consumer(_ index: Int) -> SimulatedConsumer { consumers[index % consumers.count] }
    let (key, group) = (Array(Self.streamKey.utf8), Array(Self.group.utf8))
    switch fault {
    case .consumerKill(let index): consumer(index).kill()
    case .consumerTerminate(let index): consumer(index).terminate()
    case .consumerStart(let index): consumer(index).start()
    case .consumerFreeze(let index, let isFrozen): consumer(index).freeze(isFrozen)
    case .consumerLink(let index, let mode): consumer(index).link.mode = mode
    case .consumerFuse(let index, let commands, let fault): consumer(index).link.fuse = (commands, fault)
    case .consumerDisk(let index, let isFull): consumer(index).isDiskFull = isFull
    case .groupDeleted: _ = data { $0.withStream(key) { $0.groups[group] = nil } }
    case .groupSetBack(let entries):
      _ = data {
        $0.withStream(key) { stream in
          guard stream.groups[group] != nil else { return }
          let place = stream.entries.count - entries
          let id = place > 0 ? stream.entries[place - 1].id : .zero
          if id < stream.groups[group]!.last {
            stream.groups[group]!.last = id
            stream.groups[group]!.read = nil
          }
        }
      }
    case .entryDeleted(let fromEnd):
      delete { stream in
        guard stream.entries.count > fromEnd else { return }
        _ = stream.delete([stream.entries[stream.entries.count - 1 - fromEnd].id])
      }
    case .streamTrimmed(let kept):
      delete { stream in
        guard stream.entries.count > kept else { return }
        _ = stream.trim(below: kept == 0 ? stream.lastID.next : stream.entries[stream.entries.count - kept].id)
      }
    case .streamDeleted:
      delete(isWhole: true) { $0.entries = [] }
      data { _ = $0.remove(key) }
    case .replay: replayDeadLetters()
    case .backup:
      guard let leader = consumers.first(where: \.isLeading) else { return }
      leader.backup()
      entries.backUp()
    case .backupRestored:
      for consumer in consumers { consumer.kill() }
      let path = "\(folder)/traffic.db"
      guard access(path + ".backup", F_OK) == 0 else { return }
      unlink(path + "-wal")
      unlink(path + "-shm")
      copyFile(path + ".backup", to: path)
      entries.restoreBackup(hasLooked: shown("SELECT added_before FROM streams") != nil)
    case .retention: consumers.first(where: \.isLeading)?.maintainRetention()
    case .heal: consumers.first(where: \.isLeading)?.heal()
    default: break
    }
  }

  /// What the database says; nil when there is none.
  private func shown(_ question: String) -> Int64? {
    let path = "\(folder)/traffic.db"
    guard access(path, F_OK) == 0, let database = try? StoreConnection.openForReading(path: path) else { return nil }
    return try? database.integer(question)
  }

  /// Entries go that may not have been read.
  private func delete(isWhole: Bool = false, _ body: (inout ModelStream) -> Void) {
    let before = serials
    _ = data { $0.withStream(Array(Self.streamKey.utf8), body) }
    let after = serials
    let count = EntryBook.Count(
      epoch: shown("SELECT epoch FROM streams"), before: shown("SELECT added_before FROM streams"),
      known: shown("SELECT handled + added_before FROM streams"),
      lost: Int(shown("SELECT total(entries) FROM lost_ranges") ?? 0))
    entries.delete(
      before.subtracting(after), isWhole: isWhole, left: after.count,
      ever: redis.data.stream(Self.streamKey)?.added ?? 0, count)
  }

  @discardableResult
  private func data<Result>(_ body: (inout RedisData) -> Result) -> Result { body(&redis.data) }
}
