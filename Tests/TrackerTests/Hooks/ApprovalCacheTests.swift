import Foundation
import Testing

@testable import Tracker

@Suite("approval cache")
struct ApprovalCacheTests {
  static func key(_ number: UInt64) -> UserKey { UserKey(high: number, low: number &* 0x9e37_79b9_7f4a_7c15) }

  @Test("a yes and a no hold for their own time to live")
  func lifetimes() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30)
    cache.remember(.approved, for: Self.key(1), epoch: cache.epoch, nowSeconds: 1000)
    cache.remember(.refused, for: Self.key(2), epoch: cache.epoch, nowSeconds: 1000)
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1299) == .fresh(.approved))
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1300) == .aged)
    #expect(cache.knowledge(of: Self.key(2), nowSeconds: 1029) == .fresh(.refused))
    #expect(cache.knowledge(of: Self.key(2), nowSeconds: 1030) == .stale(.refused))
    #expect(cache.knowledge(of: Self.key(3), nowSeconds: 1000) == .nothing)
  }

  @Test("with a time to live of 0 a verdict still reaches the requests that waited for it")
  func noLifetime() {
    let cache = ApprovalCache(approvedSeconds: 0, refusedSeconds: 0)
    cache.remember(.refused, for: Self.key(1), epoch: cache.epoch, nowSeconds: 1000)
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1000) == .fresh(.refused))
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1001) == .stale(.refused))
  }

  @Test(
    "a yes is used up to the staleness limit, of whatever epoch, and forgotten then; a clock behind it changes nothing")
  func staleness() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30, staleSeconds: 3600)
    cache.remember(.approved, for: Self.key(1), epoch: cache.epoch, nowSeconds: 1000)
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 999) == .fresh(.approved))
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 4599) == .aged)
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 4600) == .nothing)
    cache.invalidate()
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 4599) == .stale(.approved))
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 4600) == .nothing)
    let short = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30, staleSeconds: 0)
    #expect(short.staleSeconds == 300, "no shorter than the time to live")
  }

  @Test("an aged key is asked about once at a time: until there is a verdict, or none")
  func oneCheck() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30)
    #expect(!cache.beginCheck(of: Self.key(1)), "not known")
    cache.remember(.approved, for: Self.key(1), epoch: cache.epoch, nowSeconds: 1000)
    #expect(cache.beginCheck(of: Self.key(1)) && !cache.beginCheck(of: Self.key(1)))
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1300) == .aged)
    cache.endCheck(of: Self.key(1))
    #expect(cache.beginCheck(of: Self.key(1)))
    cache.remember(.approved, for: Self.key(1), epoch: cache.epoch, nowSeconds: 1300)
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1300) == .fresh(.approved))
    #expect(cache.beginCheck(of: Self.key(1)))
  }

  @Test("a yes of the origin has a time to live of its own, where that is longer")
  func originLifetime() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30, originSeconds: 3600)
    for (key, source) in [(1, .redis), (2, .origin)] as [(UInt64, ApprovalCache.Source)] {
      cache.remember(.approved, for: Self.key(key), from: source, epoch: cache.epoch, nowSeconds: 1000)
    }
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1300) == .aged)
    #expect(cache.knowledge(of: Self.key(2), nowSeconds: 4599) == .fresh(.approved))
    #expect(cache.knowledge(of: Self.key(2), nowSeconds: 4600) == .aged)
    cache.remember(.refused, for: Self.key(2), from: .origin, epoch: cache.epoch, nowSeconds: 1000)
    #expect(cache.originVerdict(of: Self.key(2), nowSeconds: 1030) == nil)
  }

  @Test("an answer to a question asked before the set changed is stale when it arrives")
  func lateAnswer() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30)
    let asked = cache.epoch
    cache.invalidate()
    cache.remember(.approved, for: Self.key(1), epoch: asked, nowSeconds: 1000)
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1000) == .stale(.approved))
  }

  @Test("what the origin approved survives a change of the set, what it refused is asked of the set again")
  func origin() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30)
    cache.remember(.approved, for: Self.key(1), from: .origin, epoch: cache.epoch, nowSeconds: 1000)
    cache.remember(.refused, for: Self.key(2), from: .origin, epoch: cache.epoch, nowSeconds: 1000)
    cache.invalidate()
    #expect(cache.knowledge(of: Self.key(1), nowSeconds: 1000) == .fresh(.approved))
    #expect(cache.knowledge(of: Self.key(2), nowSeconds: 1000) == .stale(.refused))
    #expect(cache.originVerdict(of: Self.key(2), nowSeconds: 1029) == .refused)
    #expect(cache.originVerdict(of: Self.key(2), nowSeconds: 1030) == nil)
  }

  @Test("refusals have an end: a flood of invented passkeys forgets refusals, never approvals")
  func flood() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30)
    for number in 0..<1000 as Range<UInt64> {
      cache.remember(.approved, for: Self.key(number), epoch: 0, nowSeconds: 1000)
    }
    for number in 1000..<200_000 as Range<UInt64> {
      cache.remember(.refused, for: Self.key(number), epoch: 0, nowSeconds: 1000)
    }
    #expect(cache.count <= 1000 + 64 * ApprovalCache.maximumRefusedPerStripe)
    for number in 0..<1000 as Range<UInt64> {
      #expect(cache.knowledge(of: Self.key(number), nowSeconds: 1000) == .fresh(.approved))
    }
  }

  @Test("users without a question for long are forgotten")
  func expiry() {
    let cache = ApprovalCache(approvedSeconds: 300, refusedSeconds: 30)
    cache.remember(.approved, for: Self.key(1), epoch: 0, nowSeconds: 1000)
    cache.remember(.approved, for: Self.key(2), epoch: 0, nowSeconds: 2000)
    cache.expire(before: 1500)
    #expect(cache.count == 1)
    #expect(cache.knowledge(of: Self.key(2), nowSeconds: 2000) == .fresh(.approved))
  }

  @Test("only 2xx with valid true approves")
  func originAnswers() {
    func verdict(_ status: Int, _ body: String) -> ApprovalCache.Verdict {
      OriginCheck.verdict(status: status, body: Data(body.utf8))
    }
    #expect(verdict(200, #"{"valid": true}"#) == .approved)
    #expect(verdict(204, #"{"valid":true,"user":7}"#) == .approved)
    #expect(verdict(200, #"{"code": 0, "message": "ok", "data": {"valid": true}}"#) == .approved)
    #expect(verdict(200, #"{"valid": true, "data": {"id": 5}}"#) == .approved)
    #expect(verdict(200, #"{"valid": false}"#) == .refused)
    #expect(verdict(200, #"{"valid": true, "data": {"valid": false}}"#) == .refused)
    #expect(verdict(200, #"{"data": true}"#) == .refused)
    #expect(verdict(200, #"{"valid": "true"}"#) == .refused)
    #expect(verdict(200, #"[true]"#) == .refused)
    #expect(verdict(200, "") == .refused)
    #expect(verdict(404, #"{"valid": true}"#) == .refused)
    #expect(verdict(500, #"{"valid": true}"#) == .refused)
  }
}
