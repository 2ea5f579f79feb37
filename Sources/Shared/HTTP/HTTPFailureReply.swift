// HTTPFailureReply: the status and the words for each reason a request is refused. Pure; used by HTTPServer.

extension HTTPRequestParser.Failure {
  var status: HTTPStatus {
    switch self {
    case .malformed: .badRequest
    case .requestLineTooLong: .uriTooLong
    case .headTooLarge: .headerFieldsTooLarge
    case .bodyTooLarge: .contentTooLarge
    case .methodNotAllowed: .methodNotAllowed
    case .transferCoding: .notImplemented
    case .versionNotSupported: .versionNotSupported
    }
  }

  var text: StaticString {
    switch self {
    case .malformed: "malformed request"
    case .requestLineTooLong: "request line too long"
    case .headTooLarge: "request headers too large"
    case .bodyTooLarge: "request body too large"
    case .methodNotAllowed: "only GET and HEAD are allowed"
    case .transferCoding: "transfer codings are not supported"
    case .versionNotSupported: "only HTTP/1.0 and HTTP/1.1 are supported"
    }
  }
}
