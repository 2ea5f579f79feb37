// OriginRedirect: what OriginCheck does when the site's endpoint answers with a redirect: follows it, and keeps the API key for
// the host it was written for. On a thread of URLSession.

import Foundation
import FoundationNetworking
import Linux
import Synchronization

/// URLSession copies every header into the request to wherever a redirect leads.
final class OriginRedirect: NSObject, URLSessionTaskDelegate, Sendable {
  /// How often a redirect that gets no key is told.
  private static let pauseNanoseconds: UInt64 = 3_600_000_000_000

  private let header: String
  private let warnings = Mutex(RareLog(pauseNanoseconds: pauseNanoseconds))

  /// `header` is the name of the one with the key.
  init(header: String) { self.header = header }

  func urlSession(
    _ session: URLSession, task: URLSessionTask, willPerformHTTPRedirection response: HTTPURLResponse,
    newRequest request: URLRequest, completionHandler: @escaping (URLRequest?) -> Void
  ) {
    var request = request
    if request.value(forHTTPHeaderField: header) != nil, !Self.mayHaveKey(request.url, of: task.originalRequest?.url) {
      request.setValue(nil, forHTTPHeaderField: header)
      if warnings.withLock({ $0.next() }) != nil {
        Log.warning(
          "the origin redirects to another host, which does not get the api key",
          ["host": request.url?.host ?? "-", "advice": "write its address as http_url"])
      }
    }
    completionHandler(request)
  }

  /// The same host and port, or the same host by https. A host that answers on another port may be anybody's.
  static func mayHaveKey(_ target: URL?, of origin: URL?) -> Bool {
    guard let target, let origin, let host = target.host, host.lowercased() == origin.host?.lowercased() else {
      return false
    }
    let (scheme, port) = (target.scheme?.lowercased(), port(of: target))
    return scheme == origin.scheme?.lowercased() && port == Self.port(of: origin) || scheme == "https" && port == 443
  }

  private static func port(of url: URL) -> Int? { url.port ?? (url.scheme?.lowercased() == "https" ? 443 : 80) }
}
