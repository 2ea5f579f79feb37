// ControlRequests: what the daemon answers on its control socket. What needs the writer and nothing else is a StoreRequest,
// declared beside the verb that sends it; the rest is here. Control thread.

import Linux
import Settings

/// The daemon's half of a verb that writes. A verb without a daemon takes the lock and calls `answer` itself.
struct StoreRequest: Sendable {
  /// The first word of the request.
  let name: String
  /// What the writer does with the words behind it. Writer thread.
  let answer: @Sendable (_ words: [String], _ writer: StoreWriter) throws(StoreError) -> ControlMessage

  /// The answer, whatever becomes of it.
  func perform(_ words: [String], _ writer: StoreWriter) -> ControlMessage {
    do throws(StoreError) {
      return try answer(words, writer)
    } catch {
      return .error(error == .fenced ? .locked : .inputOutput, "\(writer.settings.databasePath): \(error)")
    }
  }
}

enum ControlRequests {
  /// `isWanted`: the client is there to hear it.
  static func answer(_ request: ControlMessage, _ context: ControlContext, isWanted: () -> Bool = { true })
    -> ControlMessage
  {
    let words = request.words
    switch words.first {
    case "hello": return .ok([context.config.databasePath, Version.text])
    case "status": return .ok([context.engine.isReady ? "ready" : "not ready"] + StatusReport(context.engine).words)
    case "heal":
      guard words.count == 2, let id = EntryID(words[1]) else { return .error(.usage, "heal needs an id") }
      return heal(from: id, context, isWanted)
    case "stop":
      Log.info("stopping, because a verb asks for it")
      context.queue.stop()
      return .ok([])
    case "backup":
      guard words.count == 2 else { return .error(.usage, "backup needs a path") }
      return backup(to: words[1], context, isWanted)
    default:
      guard let request = context.requests.first(where: { $0.name == words.first }) else {
        return .error(.usage, "unknown request")
      }
      let answer = context.onWriter { writer in request.perform(Array(words.dropFirst()), writer) }
      return answer ?? stopping
    }
  }

  private static let stopping = ControlMessage.error(.locked, "the daemon is stopping; try again")

  /// On this thread and a connection of its own; the writer goes on.
  private static func backup(to path: String, _ context: ControlContext, _ isWanted: () -> Bool) -> ControlMessage {
    let isFirst = context.isBackingUp.withLock { isRunning in
      defer { isRunning = true }
      return !isRunning
    }
    guard isFirst else { return .error(.locked, "another backup is being made") }
    defer { context.isBackingUp.withLock { $0 = false } }
    let begun = context.onWriter { writer in Result { () throws(StoreError) in try writer.beginBackup(to: path) } }
    guard let begun else { return stopping }
    do throws(StoreError) {
      try begun.get()
      let copy = try StoreBackup.copy(of: context.config.databasePath, to: path) {
        !context.queue.isStopping && isWanted()
      }
      // A copy that is in its place must be known to the writer before it ends: the stream is kept for it.
      guard context.queue.hold() else { throw .copy(path, "the daemon is stopping") }
      defer { context.queue.release() }
      let bytes = try copy.place()
      let floors = copy.floors
      let ended = context.onWriter { writer in Result { () throws(StoreError) in try writer.endBackup(floors) } }
      guard let ended else { return stopping }
      try ended.get()
      return .ok([String(bytes)])
    } catch {
      // A daemon that ends meanwhile leaves it to the next one.
      _ = context.onWriter { writer in try? writer.concludeBackup() }
      if context.queue.isStopping { return stopping }
      switch error {
      case .ownFile: return .error(.badData, error.description)
      case .copy: return .error(.inputOutput, error.description)
      default: return .error(.inputOutput, "\(context.config.databasePath): \(error)")
      }
    }
  }

  private static func heal(from id: EntryID, _ context: ControlContext, _ isWanted: () -> Bool) -> ControlMessage {
    let before = context.engine.committed
    let serial = context.engine.requestHeal(from: id)
    while !context.engine.waitForHeal(serial, milliseconds: 500) {
      // Whatever is answered to a client that is gone; the readers go on.
      if context.queue.isStopping || !isWanted() { return stopping }
      if let trouble = context.engine.streams.compactMap(\.trouble).first {
        return .error(.unavailable, "Redis: \(trouble)")
      }
    }
    return .ok(StreamCounters.difference(from: before, to: context.engine.committed).healWords)
  }
}
