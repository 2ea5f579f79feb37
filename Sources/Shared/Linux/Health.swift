// Health: what /health says of a daemon. Made by its probe on the admin thread.

/// The state of a daemon at one moment.
public struct Health: Sendable {
  /// One dependency or part.
  public struct Check: Sendable {
    public let name: String
    public let isOK: Bool
    /// One sentence for the operator, without secrets.
    public let detail: String

    public init(name: String, isOK: Bool, detail: String) {
      self.name = name
      self.isOK = isOK
      self.detail = detail
    }
  }

  /// The loops move; a supervisor restarts what is not live.
  public var isLive: Bool
  /// Dependencies are reachable; a load balancer leaves out what is not ready.
  public var isReady: Bool
  public var checks: [Check]

  public init(isLive: Bool, isReady: Bool, checks: [Check] = []) {
    self.isLive = isLive
    self.isReady = isReady
    self.checks = checks
  }

  /// `{"live":true,"ready":false,"checks":[{"name":"redis","ok":false,"detail":"..."}]}`
  public var json: String {
    let list = checks.map {
      "{\"name\":\(JSONText.quoted($0.name)),\"ok\":\($0.isOK),\"detail\":\(JSONText.quoted($0.detail))}"
    }
    return "{\"live\":\(isLive),\"ready\":\(isReady),\"checks\":[\(list.joined(separator: ","))]}\n"
  }
}
