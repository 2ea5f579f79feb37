// SystemError: one failed system call, with what was being done. Thrown by everything in System/.

import Glibc

/// A system call that failed: `call` as in section 2 of the manual, `code` the errno value, `subject` what it was about
/// (an address, a path), empty when there is none.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
  public let call: String
  public let code: Int32
  public let subject: String
  /// What to do, where that is known.
  public let advice: String

  /// Takes errno as it stands when no code is given, so create it directly after the call.
  public init(_ call: String, subject: String = "", code: Int32 = errno, advice: String = "") {
    self.call = call
    self.code = code
    self.subject = subject
    self.advice = advice
  }

  /// `bind 0.0.0.0:6969: Address already in use`.
  public var description: String {
    let text = String(cString: strerror(code))
    let reason = subject.isEmpty ? "\(call): \(text)" : "\(call) \(subject): \(text)"
    return advice.isEmpty ? reason : "\(reason); \(advice)"
  }
}

/// Runs a call that reports failure as -1 again while a signal interrupts it (signal(7), EINTR).
@inlinable
public func retryingInterrupts(_ call: () -> Int) -> Int {
  while true {
    let result = call()
    if result != -1 || errno != EINTR { return result }
  }
}
