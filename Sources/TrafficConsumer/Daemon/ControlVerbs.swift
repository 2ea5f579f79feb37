// ControlVerbs: what the daemon does for the verbs that write, and its answers. The same functions serve a verb that has
// taken the lock itself (StoreAccess). Control thread, or the main thread of a verb.

import Settings

/// What a request came to: the words of an answer.
enum ControlAnswer {
  static func ok(_ words: [String]) -> ControlMessage { ControlMessage(words: ["ok"] + words) }
  static func error(_ code: ExitCode, _ text: String) -> ControlMessage {
    ControlMessage(words: ["error", String(code.rawValue), text])
  }
}

enum ControlVerbs {
  static func answer(_ request: ControlMessage, _ context: ControlContext) -> ControlMessage {
    let words = request.words
    switch words.first {
    case "hello": return ControlAnswer.ok([context.config.databasePath, Version.text])
    case "status":
      return ControlAnswer.ok([context.engine.isReady ? "ready" : "not ready"] + StatusReport(context.engine).words)
    case "heal":
      guard words.count == 2, let id = EntryID(words[1]) else { return ControlAnswer.error(.usage, "heal needs an id") }
      return heal(from: id, context)
    default:
      let answer = context.onWriter { writer in StoreVerbs.answer(words, writer) }
      return answer ?? ControlAnswer.error(.locked, "the daemon is stopping; try again")
    }
  }

  private static func heal(from id: EntryID, _ context: ControlContext) -> ControlMessage {
    let before = context.engine.committed.map(\.counters)
    let serial = context.engine.requestHeal(from: id)
    while !context.engine.waitForHeal(serial, milliseconds: 500) {
      if context.queue.isStopping { return ControlAnswer.error(.locked, "the daemon is stopping; try again") }
      if let trouble = context.engine.streams.compactMap(\.trouble).first {
        return ControlAnswer.error(.unavailable, "Redis: \(trouble)")
      }
    }
    return ControlAnswer.ok(healWords(before, context.engine.committed.map(\.counters)))
  }

  static func healWords(_ before: [StreamCounters], _ after: [StreamCounters]) -> [String] {
    func sum(_ list: [StreamCounters], _ path: KeyPath<StreamCounters, Int64>) -> Int64 {
      list.reduce(0) { $0 + $1[keyPath: path] }
    }
    return [\StreamCounters.applied, \.duplicates, \.dead, \.redelivered].map {
      String(sum(after, $0) - sum(before, $0))
    }
  }
}

/// Verbs that need the writer and nothing else.
enum StoreVerbs {
  static func answer(_ words: [String], _ writer: StoreWriter) -> ControlMessage {
    do throws(StoreError) {
      switch words.first {
      case "replay": return ControlAnswer.ok(try replay(Array(words.dropFirst()), writer))
      case "discard":
        let ids = words.dropFirst(2).compactMap { Int64($0) }
        return ControlAnswer.ok([String(try writer.discard(ids, note: words.count > 1 ? words[1] : ""))])
      case "purge":
        guard words.count == 3, let before = Int64(words[1]), let state = DeadLetterState(rawValue: words[2]),
          state != .dead
        else { return ControlAnswer.error(.usage, "purge needs a time and a state") }
        return ControlAnswer.ok([String(try writer.purge(state, before: before))])
      case "backup":
        guard words.count == 2 else { return ControlAnswer.error(.usage, "backup needs a path") }
        return ControlAnswer.ok([String(try writer.backup(to: words[1]))])
      default: return ControlAnswer.error(.usage, "unknown request")
      }
    } catch {
      return ControlAnswer.error(.inputOutput, error.description)
    }
  }

  /// `replay dry|wet <number of set> <field=value>... <id>...`; five words back for each letter.
  private static func replay(_ words: [String], _ writer: StoreWriter) throws(StoreError) -> [String] {
    guard words.count >= 2, let settings = Int(words[1]), settings >= 0, words.count >= 2 + settings else {
      throw .damaged("a replay request that is none")
    }
    let repairs = words[2..<(2 + settings)].map { text in
      let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false)
      return (String(parts[0]), parts.count > 1 ? String(parts[1]) : "")
    }
    var answer: [String] = []
    for id in words[(2 + settings)...].compactMap({ Int64($0) }) {
      answer += try writer.replay(id, repairs: repairs, isDryRun: words[0] == "dry").words
    }
    return answer
  }
}
