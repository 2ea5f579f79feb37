// WakeModeration: decides whether an event loop that has nothing to do sleeps a moment before it looks again, so that one
// wake-up serves several requests: interrupt moderation, as network cards do it (ethtool(8), rx-usecs), in user space.
// Belongs to an EventLoop, on its thread. A plain value: the clock comes from outside.
//
// A loop that is idle answers at once, and so does one that is busy most of its time: there batches form by themselves.
// Between the two the sleep trades a moment that no client notices for processor time. Clients that wait for each reply
// before they send the next request would be slowed down: the rate with the sleep is compared with the rate without it
// now and then, and where the sleep costs requests it stays off for a while.

/// The state of one loop's moderation.
struct WakeModeration {
  /// How long one sleep lasts; 0: never sleep.
  let delayNanoseconds: UInt64

  /// Decisions are made about this often: long enough to count a rate, short enough to follow a burst.
  static let windowNanoseconds: UInt64 = 10_000_000
  /// A sleep that gathers fewer requests than this is not worth it; half of it ends the sleeping.
  static let worthwhileRequests = 3.0
  /// The share of its time that a loop may work and still sleep.
  static let busyShare = 0.7
  /// How much the rate without sleep must be above that with it to blame the sleep: more than chance makes of averages.
  static let slowdown = 1.1
  /// Windows in a row in which sleeping must look worthwhile before it begins: a rush that has just begun shows no rate.
  static let patienceWindows = 4
  /// Windows with sleep until it must prove itself again, and windows without it after it was blamed.
  static let trialWindows = 128
  static let penaltyWindows = 64

  /// Requests per second, averaged over the last windows of a kind: one stall or one burst decides nothing.
  private struct Rate {
    private static let most = 8.0
    private(set) var mean = 0.0
    private(set) var windows = 0.0

    mutating func add(_ rate: Double) {
      windows = min(windows + 1, Self.most)
      mean += (rate - mean) / windows
    }
  }

  private(set) var isDelaying = false
  private var windowStart: UInt64 = 0
  private var requests = 0
  private var busyNanoseconds: UInt64 = 0
  private var direct = Rate()
  private var delayed = Rate()
  private var worthwhileWindows = 0
  /// Windows until the next trial, or until sleeping may begin again.
  private var countdown = 0

  init(delayNanoseconds: UInt64) { self.delayNanoseconds = delayNanoseconds }

  /// One turn of the loop has ended: how many requests it served and how many nanoseconds it took.
  mutating func note(requests: Int, busyNanoseconds: UInt64, nowNanoseconds: UInt64) {
    guard delayNanoseconds > 0 else { return }
    self.requests += requests
    self.busyNanoseconds += busyNanoseconds
    let elapsed = nowNanoseconds &- windowStart
    guard elapsed >= Self.windowNanoseconds else { return }
    decide(
      rate: Double(self.requests) * 1e9 / Double(elapsed), share: Double(self.busyNanoseconds) / Double(elapsed))
    windowStart = nowNanoseconds
    self.requests = 0
    self.busyNanoseconds = 0
  }

  private mutating func decide(rate: Double, share: Double) {
    let gathered = rate * Double(delayNanoseconds) / 1e9
    if countdown > 0 { countdown -= 1 }
    if isDelaying {
      delayed.add(rate)
      let isBlamed =
        delayed.windows >= Double(Self.patienceWindows) && delayed.mean * Self.slowdown < direct.mean
      if isBlamed || countdown == 0 || share >= Self.busyShare || gathered < Self.worthwhileRequests / 2 {
        isDelaying = false
        direct = Rate()
        worthwhileWindows = 0
        countdown = isBlamed ? Self.penaltyWindows : 0
      }
    } else {
      direct.add(rate)
      let isWorthwhile = share < Self.busyShare && gathered >= Self.worthwhileRequests
      worthwhileWindows = isWorthwhile ? worthwhileWindows + 1 : 0
      guard countdown == 0, worthwhileWindows >= Self.patienceWindows else { return }
      isDelaying = true
      delayed = Rate()
      countdown = Self.trialWindows
    }
  }
}
