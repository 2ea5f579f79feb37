// Eventually: waiting for a condition, with a deadline that only ever ends a broken run.

import Linux

/// How long anything may take before a run is taken for broken. A machine with other work on it takes ten times as long as
/// an idle one, and who waits for what does not come is wrong already: nothing is won by a tight limit.
public let patienceSeconds = 240.0

/// Polls until `value` is not nil and returns it. After `seconds` it throws, naming `what` and adding the `evidence`
/// (a log, a reply). The pause between two looks gives the processor away; it decides nothing.
public func eventually<Value>(
  _ what: String, within seconds: Double = patienceSeconds, evidence: @autoclosure () -> String = "",
  isolation: isolated (any Actor)? = #isolation, _ value: () async throws -> Value?
) async throws -> Value {
  let deadline = Clock.monotonicNanoseconds() + UInt64(seconds * 1e9)
  while true {
    if let result = try await value() { return result }
    if Clock.monotonicNanoseconds() > deadline {
      let evidence = evidence()
      throw HarnessError("not within \(seconds) s: \(what)" + (evidence.isEmpty ? "" : "\n\(evidence)"))
    }
    try await Task.sleep(nanoseconds: 5_000_000)
  }
}

/// Polls until `condition` holds.
public func eventually(
  _ what: String, within seconds: Double = patienceSeconds, evidence: @autoclosure () -> String = "",
  isolation: isolated (any Actor)? = #isolation, holds condition: () async throws -> Bool
) async throws {
  let _: Bool = try await eventually(what, within: seconds, evidence: evidence()) {
    try await condition() ? true : nil
  }
}
