// Refusal: every reason for which a request gets no result, and the one place that knows the words clients show.

/// Why a request is refused. Internal trouble is `internalError`, never its details.
enum Refusal: UInt8, Error, CaseIterable {
  case missingPasskey
  case invalidPasskey
  case unapprovedPasskey
  case unapprovedClient
  case unapprovedInfoHash
  case invalidInfoHash
  case invalidPeerID
  case invalidPort
  case invalidUploaded
  case invalidDownloaded
  case invalidLeft
  case invalidNumwant
  case invalidAddress
  case unapprovedPort
  case tooManyPeersOfUser
  case tooManySessionsOfUser
  case tooManyNewSessionsOfUser
  case tooManyLookups
  case malformedRequest
  case badConnectionID
  case tryAgain
  case internalError

  /// The bencoded `failure reason` (BEP 3) and the message of action 3 (BEP 15).
  var text: StaticString {
    switch self {
    case .missingPasskey: "missing passkey"
    case .invalidPasskey: "invalid passkey"
    case .unapprovedPasskey: "unapproved passkey"
    case .unapprovedClient: "unapproved client"
    case .unapprovedInfoHash: "unapproved infohash"
    case .invalidInfoHash: "invalid info_hash"
    case .invalidPeerID: "invalid peer_id"
    case .invalidPort: "invalid port"
    case .invalidUploaded: "invalid uploaded"
    case .invalidDownloaded: "invalid downloaded"
    case .invalidLeft: "invalid left"
    case .invalidNumwant: "invalid numwant"
    case .invalidAddress: "invalid ip"
    case .unapprovedPort: "unapproved port"
    case .tooManyPeersOfUser: "too many clients of yours on this torrent"
    case .tooManySessionsOfUser: "too many torrents of yours at once"
    case .tooManyNewSessionsOfUser: "too many new torrents of yours in an hour"
    case .tooManyLookups: "too many approval look-ups for your address, please try again"
    case .malformedRequest: "malformed request"
    case .badConnectionID: "bad connection ID"
    case .tryAgain: "tracker temporarily unavailable, please try again"
    case .internalError: "internal server error"
    }
  }

  /// Seconds after which asking again makes sense (BEP 31 `retry in`); nil when only a change of the request helps.
  var retryInSeconds: UInt32? {
    switch self {
    case .tryAgain, .tooManyLookups: 60
    // The budget of an hour comes back by the minute.
    case .tooManyNewSessionsOfUser: 600
    default: nil
    }
  }
}
