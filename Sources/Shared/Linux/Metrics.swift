// Metrics: counters, gauges and histograms, and their Prometheus text form (exposition format 0.0.4).
// Values are updated from any thread; asking the registry twice for the same series gives two instances whose sum is
// shown, so that every worker has its own and no cache line is shared.

import Synchronization

/// A number that only grows.
public final class Counter: Sendable {
  private let value = Atomic<UInt64>(0)
  public init() {}
  /// From any thread.
  public func add(_ amount: UInt64 = 1) { value.wrappingAdd(amount, ordering: .relaxed) }
  /// Without a locked instruction: only when one thread alone writes this instance.
  @inline(__always)
  public func addFromOwner(_ amount: UInt64 = 1) {
    value.store(value.load(ordering: .relaxed) &+ amount, ordering: .relaxed)
  }
  public var current: UInt64 { value.load(ordering: .relaxed) }
}

/// A number that goes up and down.
public final class Gauge: Sendable {
  private let value = Atomic<Int64>(0)
  public init() {}
  public func set(_ new: Int64) { value.store(new, ordering: .relaxed) }
  public func add(_ amount: Int64) { value.wrappingAdd(amount, ordering: .relaxed) }
  public var current: Int64 { value.load(ordering: .relaxed) }
}

/// A distribution over fixed upper bounds (ascending, in the metric's unit). One writer thread per instance.
public final class Histogram: Sendable {
  public let upperBounds: [Double]
  private let counts: [Counter]
  private let sumBits = Atomic<UInt64>(0)

  public init(upperBounds: [Double]) {
    self.upperBounds = upperBounds
    counts = (0...upperBounds.count).map { _ in Counter() }
  }

  /// Records `times` observations of the same value; only from the thread that owns this instance.
  public func observe(_ value: Double, times: UInt64 = 1) {
    var index = 0
    while index < upperBounds.count && value > upperBounds[index] { index += 1 }
    counts[index].addFromOwner(times)
    let sum = Double(bitPattern: sumBits.load(ordering: .relaxed)) + value * Double(times)
    sumBits.store(sum.bitPattern, ordering: .relaxed)
  }

  var snapshot: (counts: [UInt64], sum: Double) {
    (counts.map(\.current), Double(bitPattern: sumBits.load(ordering: .relaxed)))
  }
}

/// All metrics of a process.
public final class MetricRegistry: Sendable {
  /// Label names and values, in the order they are shown.
  public typealias Labels = [(name: String, value: String)]

  private enum Source: Sendable {
    case counter(Counter)
    case gauge(Gauge)
    case histogram(Histogram)
    case function(@Sendable () -> Double?)
  }
  private struct Series: Sendable {
    let labels: String
    var sources: [Source]
  }
  private struct Family: Sendable {
    let name: String
    let help: String
    let type: String
    var series: [Series] = []
  }
  private let families = Mutex<[Family]>([])

  public init() {}

  public func counter(_ name: String, help: String, labels: Labels = []) -> Counter {
    let counter = Counter()
    add(name, help, "counter", labels, .counter(counter))
    return counter
  }

  public func gauge(_ name: String, help: String, labels: Labels = []) -> Gauge {
    let gauge = Gauge()
    add(name, help, "gauge", labels, .gauge(gauge))
    return gauge
  }

  /// A gauge that is computed when it is read; `read` is called on the admin thread and must not block. While it gives nil
  /// the series is not there: a rule that looks for a change must not take the first value for one.
  public func gauge(_ name: String, help: String, labels: Labels = [], read: @escaping @Sendable () -> Double?) {
    add(name, help, "gauge", labels, .function(read))
  }

  /// The same for a number that only rises, and outlives the process.
  public func counter(_ name: String, help: String, labels: Labels = [], read: @escaping @Sendable () -> Double?) {
    add(name, help, "counter", labels, .function(read))
  }

  public func histogram(_ name: String, help: String, labels: Labels = [], upperBounds: [Double]) -> Histogram {
    let histogram = Histogram(upperBounds: upperBounds)
    add(name, help, "histogram", labels, .histogram(histogram))
    return histogram
  }

  private func add(_ name: String, _ help: String, _ type: String, _ labels: Labels, _ source: Source) {
    let text = labels.map { "\($0.name)=\(Self.quoted($0.value))" }.joined(separator: ",")
    families.withLock { families in
      let index: Int
      if let found = families.firstIndex(where: { $0.name == name }) {
        precondition(families[found].type == type, "metric \(name) registered as two types")
        index = found
      } else {
        families.append(Family(name: name, help: help, type: type))
        index = families.count - 1
      }
      if let at = families[index].series.firstIndex(where: { $0.labels == text }) {
        families[index].series[at].sources.append(source)
      } else {
        families[index].series.append(Series(labels: text, sources: [source]))
      }
    }
  }

  private static func quoted(_ value: String) -> String {
    var text = "\""
    for character in value.unicodeScalars {
      switch character {
      case "\\": text += "\\\\"
      case "\"": text += "\\\""
      case "\n": text += "\\n"
      default: text.unicodeScalars.append(character)
      }
    }
    return text + "\""
  }

  /// The text a Prometheus server scrapes.
  public func render() -> String {
    // Copied out first: `read` closures run outside the lock.
    let families = families.withLock { $0 }
    var text = ""
    for family in families {
      text += "# HELP \(family.name) \(family.help)\n# TYPE \(family.name) \(family.type)\n"
      for series in family.series { Self.render(series, of: family, into: &text) }
    }
    return text
  }

  private static func render(_ series: Series, of family: Family, into text: inout String) {
    let braces = series.labels.isEmpty ? "" : "{\(series.labels)}"
    var integer: UInt64 = 0
    var signed: Int64 = 0
    var real = 0.0
    var isKnown = false
    var histogram: (bounds: [Double], counts: [UInt64], sum: Double)?
    for source in series.sources {
      switch source {
      case .counter(let counter): (integer, isKnown) = (integer &+ counter.current, true)
      case .gauge(let gauge): (signed, isKnown) = (signed + gauge.current, true)
      case .function(let read):
        guard let value = read() else { continue }
        (real, isKnown) = (real + value, true)
      case .histogram(let one):
        let (counts, sum) = one.snapshot
        if let soFar = histogram {
          histogram = (soFar.bounds, zip(soFar.counts, counts).map { $0 &+ $1 }, soFar.sum + sum)
        } else {
          histogram = (one.upperBounds, counts, sum)
        }
      }
    }
    guard let histogram else {
      guard isKnown else { return }
      let value: String
      if family.type == "counter" {
        value = real == 0 ? String(integer) : number(real + Double(integer))
      } else {
        value = real == 0 ? String(signed) : number(real + Double(signed))
      }
      text += "\(family.name)\(braces) \(value)\n"
      return
    }
    let prefix = series.labels.isEmpty ? "" : series.labels + ","
    var cumulative: UInt64 = 0
    for (index, count) in histogram.counts.enumerated() {
      cumulative &+= count
      let bound = index < histogram.bounds.count ? number(histogram.bounds[index]) : "+Inf"
      text += "\(family.name)_bucket{\(prefix)le=\"\(bound)\"} \(cumulative)\n"
    }
    text += "\(family.name)_sum\(braces) \(number(histogram.sum))\n\(family.name)_count\(braces) \(cumulative)\n"
  }

  private static func number(_ value: Double) -> String {
    if value == value.rounded(), abs(value) < 1e15 { return String(Int64(value)) }
    return String(value)
  }
}
