// PushSessionWindow: the part of PushSession that fills the window: which call is sent next, from where its announces
// come, and under which run.

extension PushSession {
  /// The oldest call that is not on its way, or a new one if the window has room and the queue has announces.
  mutating func nextToSend() -> PushBatch? {
    // An ASK holds for one call.
    if isAsking, window.first?.isSent == true { return nil }
    if isClockDue { return nil }
    if let waiting = window.first(where: { !$0.isSent }) {
      if waiting.gapFrom != nil || waiting.run != run, window.first !== waiting { return nil }
      if waiting.run != run { change(to: waiting.run) }
      waiting.refresh(call!)
      return waiting
    }
    guard window.count < (isAsking ? 1 : PublisherSettings.window) else { return nil }
    let batch = pool.popLast() ?? PushBatch()
    batch.take(encodings.popLast())
    guard fillRestored(batch) || fillOwn(batch) else {
      pool.append(batch)
      return nil
    }
    window.append(batch)
    return batch
  }

  private mutating func fillOwn(_ batch: PushBatch) -> Bool {
    guard restored.isEmpty, run == ownRun || window.isEmpty else { return false }
    if run != ownRun { change(to: ownRun) }
    let gapFrom = gapsAhead[run.id]
    guard gapFrom == nil || window.isEmpty else { return false }
    let isFilled = batch.fill(
      from: queue, maximum: settings.recordsPerCall, call: call!, willWait: window.isEmpty, runBegin: runBegin,
      gapFrom: gapFrom)
    if isFilled { gapsAhead[run.id] = nil }
    return isFilled
  }

  /// A run is left, and a hole stepped over, when all before it is answered.
  private mutating func fillRestored(_ batch: PushBatch) -> Bool {
    guard let next = restored.run else { return false }
    let gapFrom = gapsAhead[next.id] ?? restored.hole.map { PushCall.Gap(place: $0) }
    guard window.isEmpty || run == next && gapFrom == nil else { return false }
    if run != next { change(to: next) }
    batch.fill(from: restored.take(settings.recordsPerCall), call: call!, gapFrom: gapFrom)
    gapsAhead[next.id] = nil
    return true
  }

  private mutating func change(to run: PushRun) {
    self.run = run
    call!.run = run
  }

  /// The own run is given up for a new one, which goes on at record `begin`: what is in the window is sent under it.
  mutating func beginRun(at begin: UInt64) {
    let given = ownRun
    ownRun = newRun()
    runBegin = begin
    change(to: ownRun)
    retained.removeAll()
    suspended = nil
    survey = nil
    (gapsAhead[given.id], counted[given.id]) = (nil, nil)
    for batch in window where batch.run == given {
      batch.encode(call!, gapFrom: batch.first > 0 && batch.first == begin ? PushCall.Gap(place: 0) : nil)
    }
  }
}
