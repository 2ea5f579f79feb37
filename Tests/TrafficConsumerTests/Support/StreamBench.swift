// StreamBench: a real Redis stream and a real database, driven entry by entry: what the reader and the writer do, with
// every fault a test asks for in between.

import Foundation
import Redis
import SQLite
import Simulation
import Testing
import Wire

@testable import TrafficConsumer

final class StreamBench {
  static let stream = "tracker:traffic"
  let directory: TemporaryDirectory
  let databasePath: String
  private(set) var writer: StoreWriter
  private var connection: RedisConnection
  /// Ids of the entries in the stream, in order.
  private(set) var ids: [EntryID] = []
  private let settings: StoreWriter.Settings

  /// `server` may be shared: the stream is the bench's own.
  init(server: RedisServer, database: Int, windowSeconds: Int64 = 3600) throws {
    directory = try TemporaryDirectory()
    databasePath = "\(directory.path)/traffic.db"
    settings = StoreWriter.Settings(
      databasePath: databasePath, streamNames: [Self.stream], windowSeconds: windowSeconds, maximumDeliveries: 3)
    writer = try StoreWriter(settings: settings)
    connection = try RedisConnection(endpoint: RedisEndpoint(url: "redis+unix://\(server.socketPath)?db=\(database)"))
    _ = try connection.command(["FLUSHDB"])
  }

  @discardableResult
  func add(_ fields: [String], id: String = "*") throws -> EntryID {
    let text = try connection.command(["XADD", Self.stream, id] + fields).string ?? ""
    let id = try #require(EntryID(text))
    ids.append(id)
    return id
  }

  @discardableResult
  func add(_ event: TrafficEvent, id: String = "*") throws -> EntryID { try add(event.encode(), id: id) }

  /// Consecutive entries of the stream as one delivery.
  func delivery(_ range: Range<Int>, _ source: StreamDelivery.Source = .consecutive) throws -> StreamDelivery {
    let reply = try connection.command([
      "XRANGE", Self.stream, ids[range.lowerBound].description, ids[range.upperBound - 1].description,
    ])
    return StreamDelivery(streamIndex: 0, source: source, entries: reply.view)
  }

  /// Entries one by one, as pending ones come.
  func apply(scattered indices: [Int]) throws {
    for index in indices {
      let reply = try connection.command(["XRANGE", Self.stream, ids[index].description, ids[index].description])
      _ = try writer.apply([StreamDelivery(streamIndex: 0, source: .scattered, entries: reply.view)])
    }
  }

  @discardableResult
  func apply(_ range: Range<Int>) throws -> StreamCounters { try writer.apply([try delivery(range)]) }

  /// Everything in the stream that is not applied, as the reader heals: the spaces between ranges and the end.
  func heal() throws {
    for gap in writer.streams[0].applied.gaps { try heal(after: gap.after, before: gap.before) }
    try heal(after: writer.streams[0].applied.last ?? .zero, before: .maximum)
  }

  private func heal(after: EntryID, before: EntryID) throws {
    let indices = ids.indices.filter { after < ids[$0] && ids[$0] < before }
    guard let first = indices.first, let last = indices.last else { return }
    try apply(first..<last + 1)
  }

  /// The end of the stream from an index on is gone, as after a failover.
  func loseEnd(from index: Int) throws {
    for id in ids[index...] { _ = try connection.command(["XDEL", Self.stream, id.description]) }
    ids.removeSubrange(index...)
    let end = ids.last ?? .zero
    try writer.rollBack(stream: 0, to: end, restoredThrough: end)
  }

  /// From an index on the stream is made anew, with the ids that it had and the same text in each.
  func replaceEnd(from index: Int, with fields: [String]) throws {
    _ = try connection.command(["DEL", Self.stream])
    for id in ids[index...] { _ = try connection.command(["XADD", Self.stream, id.description] + fields) }
  }

  /// The process dies and starts again.
  func restart() throws { writer = try StoreWriter(settings: settings) }

  func backup() throws -> String {
    let path = "\(directory.path)/backup.db"
    _ = try writer.backup(to: path)
    return path
  }

  /// The database is replaced by a copy.
  func restore(_ path: String) throws {
    // Closed first, with its log; the daemon is down when this is done.
    let parked = try TemporaryDirectory()
    var other = settings
    other.databasePath = "\(parked.path)/other.db"
    writer = try StoreWriter(settings: other)
    for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: databasePath + suffix) }
    try FileManager.default.copyItem(atPath: path, toPath: databasePath)
    writer = try StoreWriter(settings: settings)
  }

  func reader() throws -> SQLiteDatabase { try StoreConnection.openForReading(path: databasePath) }

  func sums(of passkey: String) throws -> TrafficSums {
    try TrafficQuery.rows(of: .user(passkey), by: .total, in: QueryRange(), from: reader()).first?.sums ?? TrafficSums()
  }

  /// Every check that fails, as text.
  func faults() throws -> [String] {
    try StoreCheck.run(reader()).filter { !$0.isOK }.map { "\($0.name): \($0.detail)" }
  }

  /// Bytes and seconds per user, for comparing two states.
  func totals() throws -> [String: TrafficSums] {
    let rows = try TrafficQuery.top(.up, limit: 1000, in: QueryRange(), from: reader())
    return Dictionary(uniqueKeysWithValues: rows.map { ($0.passkey!, $0.sums) })
  }
}
