// What readers do and learn, in a few words, for the trace of a run.

@testable import TrafficConsumer

extension StreamCounters {
  var handledText: String {
    "\(applied) applied, \(duplicates) duplicates, \(dead) dead, \(redelivered) known"
  }
}

extension ReaderAction {
  var shortName: String {
    switch self {
    case .connect: "connect"
    case .ask(let question):
      switch question {
      case .new(_, _, let done): "read new, acknowledging \(done.reduce(0) { $0 + $1.settled.count })"
      case .range(let span, _): "range \(span.after)...\(span.through)"
      case .acknowledge(let done): "acknowledge \(done.reduce(0) { $0 + $1.settled.count })"
      case .ownPending(let after, _): "own pending after \(after)"
      case .trim(let floor, _): "trim below \(floor)"
      case .createGroup: "create group"
      case .claimGroup: "claim group"
      case .census: "census"
      case .survey: "survey"
      case .entries(let ids): "look for \(ids.count) anchors"
      case .claim: "claim"
      case .empty(let gaps): "look into \(gaps.count) gaps"
      }
    case .submit(let delivery): "submit \(delivery.count)"
    case .store(let change): "store \(change)"
    case .wait(let what, _): "wait for \(what)"
    case .pause(let milliseconds): "pause \(milliseconds)"
    case .report(let report): "report \(report)"
    case .end: "end"
    }
  }

  /// Without news.
  fileprivate var isRoutine: Bool {
    switch self {
    case .wait, .report(.surveyed), .ask(.survey), .ask(.claim), .ask(.empty), .ask(.new): true
    default: false
    }
  }
}

extension ReaderEvent {
  var shortName: String {
    switch self {
    case .entries(let delivery): "\(delivery.count) entries"
    case .failed(let error): "failed \(error)"
    case .trimmed(let count, _): "trimmed \(count)"
    case .census(let census):
      "length \(census.length) added \(census.entriesAdded ?? -1) last \(census.lastGeneratedID) delivered \(census.lastDeliveredID) pending \(census.pending) lag \(census.lag ?? -1)"
    case .found(let found): "\(found.count { $0 != nil }) of \(found.count)"
    case .groupCreated(let isNew): "new \(isNew)"
    default: "done"
    }
  }
}

extension World {
  func isTold(_ action: ReaderAction) -> Bool { isVerbose || !action.isRoutine }
}
