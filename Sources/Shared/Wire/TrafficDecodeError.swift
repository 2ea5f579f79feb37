// TrafficDecodeError: why a stream entry is not a traffic event. Its reasons become the `reason` of dead letters. Pure.

/// What is wrong with an entry, and with which of its fields.
public enum TrafficDecodeError: Error, Equatable, Sendable, CustomStringConvertible {
  /// The entry has a name without a value.
  case oddFieldCount(Int)
  /// A required field (or one of `gen`, `cu`, `cd`, when another of them is there) is missing.
  case missing(TrafficField)
  /// A field appears more than once; which one counts would be a guess.
  case duplicate(TrafficField)
  /// The value is not of the field's form; the text says what was expected. The value itself is not repeated: it may
  /// hold a passkey.
  case malformed(TrafficField, expected: String)
  /// The value is of the right form but cannot be: too large, or at odds with another field.
  case impossible(TrafficField, expected: String)
  /// `v` names a version this program does not know.
  case unsupportedVersion(String)

  /// A short stable word for storage, filters and metrics.
  public var reason: String {
    switch self {
    case .oddFieldCount: "odd_field_count"
    case .missing: "missing_field"
    case .duplicate: "duplicate_field"
    case .malformed: "malformed_value"
    case .impossible: "impossible_value"
    case .unsupportedVersion: "unsupported_version"
    }
  }

  /// The sentence shown to the operator.
  public var description: String {
    switch self {
    case .oddFieldCount(let count): "\(count) names and values, which do not pair up"
    case .missing(let field): "field \(field.name) is missing"
    case .duplicate(let field): "field \(field.name) appears more than once"
    case .malformed(let field, let expected): "field \(field.name) is not \(expected)"
    case .impossible(let field, let expected): "field \(field.name) must be \(expected)"
    case .unsupportedVersion(let version): "field v is \(version), this program reads version 1"
    }
  }
}
