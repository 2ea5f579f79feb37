// OriginCheck: asks the site's own HTTP endpoint about a passkey that the Redis set does not have. Used by
// MembershipLink on the resolver's thread; answers come on a thread of URLSession.
//
//   GET <http_url>?passkey=<passkey>     with the API key header when one is configured
//   2xx and {"valid": true}, or {"data": {"valid": true}}: approved. Any other answer: refused. No answer in time: not
//   decided.

import Foundation
import FoundationNetworking
import Synchronization
import Wire

/// The site's word on passkeys.
final class OriginCheck: Sendable {
  typealias Answer = @Sendable (ApprovalCache.Verdict?) -> Void

  /// Calls under way at once: what a small PHP site answers without noticing.
  private static let maximumCalls = 8
  /// Passkeys that wait for a call; more are not decided, which the client hears as "try again". Each source has a share
  /// of them, and they take turns: see SourceShares, FairQueue. Known users, whom the set no longer has, wait for no stranger.
  private static let maximumWaiting = 10_000
  /// A longer body is no answer to this question.
  private static let maximumBodyBytes = 65_536

  private struct Call: Sendable {
    let passkey: Passkey
    var answers: [Answer]
  }
  private struct State {
    var calls: [UserKey: Call] = [:]
    var known = Fifo<UserKey>()
    var waiting = FairQueue<UserKey>()
    var running = 0

    mutating func popFirst() -> UserKey? { known.popFirst() ?? waiting.popFirst() }
  }

  private let url: URLComponents
  private let header: (name: String, value: String)?
  private let session: URLSession
  private let state = Mutex(State())

  /// Nil when the URL is none.
  init?(url: String, apiKeyHeader: String, apiKey: String?, timeoutSeconds: Double) {
    guard let components = URLComponents(string: url), components.host != nil else { return nil }
    self.url = components
    header = apiKey.map { (apiKeyHeader, $0) }
    let configuration = URLSessionConfiguration.ephemeral
    configuration.timeoutIntervalForRequest = timeoutSeconds
    configuration.timeoutIntervalForResource = timeoutSeconds
    configuration.httpMaximumConnectionsPerHost = Self.maximumCalls
    configuration.httpCookieAcceptPolicy = .never
    session = URLSession(
      configuration: configuration, delegate: OriginRedirect(header: apiKeyHeader), delegateQueue: nil)
  }

  /// Asks for a source, once per passkey at a time: questions that come while a call is under way share its answer.
  /// `isKnown`: it is about a known user, who counts for no source.
  func ask(
    _ passkey: Passkey, key: UserKey, of source: HostNetwork, isKnown: Bool = false, _ answer: @escaping Answer
  ) {
    let isAccepted = state.withLock { state in
      if state.calls[key] != nil {
        state.calls[key]?.answers.append(answer)
        return true
      }
      let room = Self.maximumWaiting - state.calls.count
      guard isKnown ? room > 0 : state.waiting.count(of: source) < SourceShares.limit(room: room) else { return false }
      state.calls[key] = Call(passkey: passkey, answers: [answer])
      if isKnown { state.known.append(key) } else { state.waiting.append(key, of: source) }
      return true
    }
    if isAccepted { startWaiting() } else { answer(nil) }
  }

  private func startWaiting() {
    while true {
      let next: (UserKey, Passkey)? = state.withLock { state in
        guard state.running < Self.maximumCalls, let key = state.popFirst(), let call = state.calls[key] else {
          return nil
        }
        state.running += 1
        return (key, call.passkey)
      }
      guard let (key, passkey) = next else { return }
      start(passkey) { [self] verdict in
        let answers = state.withLock { state in
          state.running -= 1
          return state.calls.removeValue(forKey: key)?.answers ?? []
        }
        for answer in answers { answer(verdict) }
        startWaiting()
      }
    }
  }

  private func start(_ passkey: Passkey, _ done: @escaping Answer) {
    var components = url
    var items = (components.queryItems ?? []).filter { $0.name != "passkey" }
    items.append(URLQueryItem(name: "passkey", value: passkey.text))
    components.queryItems = items
    guard let target = components.url else {
      done(nil)
      return
    }
    var request = URLRequest(url: target)
    if let header { request.setValue(header.value, forHTTPHeaderField: header.name) }
    session.dataTask(with: request) { body, response, _ in
      guard let response = response as? HTTPURLResponse else {
        done(nil)
        return
      }
      done(Self.verdict(status: response.statusCode, body: body ?? Data()))
    }.resume()
  }

  /// What an answer means.
  static func verdict(status: Int, body: Data) -> ApprovalCache.Verdict {
    guard (200..<300).contains(status), body.count <= maximumBodyBytes,
      let object = try? JSONSerialization.jsonObject(with: body) as? [String: Any]
    else { return .refused }
    let said = [object["valid"], (object["data"] as? [String: Any])?["valid"]].compactMap { $0 }
    return !said.isEmpty && said.allSatisfy { $0 as? Bool == true } ? .approved : .refused
  }
}
