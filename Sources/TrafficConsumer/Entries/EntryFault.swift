// EntryFault: why an entry goes to the dead letters. Only what the entry itself is to blame for is one. Pure.

import Wire

enum EntryFault: Error, Equatable, Sendable {
  /// The fields are no traffic event.
  case undecodable(TrafficDecodeError)
  /// A user's total would be beyond what one user may have (`TrafficSums.maximumUserBytes`), or a torrent's beyond 64 bits.
  case totalOverflow
  /// The database refused this entry, alone, every time it was tried.
  case repeatedlyFatal(String)
  /// Another fault, of an entry that is too large to be kept whole: how many bytes are not.
  indirect case tooLarge(missingBytes: Int, EntryFault)

  /// A stable word: `dlq list --reason`, metrics.
  var reason: String {
    switch self {
    case .undecodable(let error): error.reason
    case .totalOverflow: "total_overflow"
    case .repeatedlyFatal: "repeatedly_fatal"
    case .tooLarge: "too_large"
    }
  }

  /// A sentence for the operator, without passkeys.
  var detail: String {
    switch self {
    case .undecodable(let error): error.description
    case .totalOverflow: "this user's total would exceed 2^57 bytes, or this torrent's 2^63 - 1"
    case .repeatedlyFatal(let text): text
    case .tooLarge(let missing, let fault):
      "\(fault.detail); of an entry of more than \(EntryFields.maximumBytes >> 20) MB the last \(missing) bytes are not kept"
    }
  }
}
