// InvalidationSubscription: the second connection of a MembershipLink, on which Redis says that the set has changed.
// On the resolver's thread.

import CLinux
import Glibc
import Linux
import Redis

/// Listens for changes of one key.
final class InvalidationSubscription: EventHandler {
  private let resolver: MembershipResolver
  private let loop: EventLoop
  private var connection: RedisConnection?
  private var registration: EventLoop.Registration?
  private var reply = RedisReply()
  private var hasUnansweredPing = false
  private var hasLoggedRefusal = false
  /// Set when the subscription broke: the question connection's tracking points nowhere and must be set up again.
  private var isBroken = false

  init(resolver: MembershipResolver, loop: EventLoop) {
    self.resolver = resolver
    self.loop = loop
  }

  /// Opens the subscription and has the changes seen by `questions` sent to it. A server that cannot do that is used
  /// without; a failure of the subscription's connection is repaired by the next probe. Throws when `questions` failed: it
  /// may owe a reply and is of no use any more.
  func follow(_ questions: inout RedisConnection) throws(RedisError) {
    close()
    var opened: RedisConnection?
    var id: Int64 = 0
    do throws(RedisError) {
      // The same process: behind Sentinels or in a Cluster the way might lead to another one by now.
      var fresh = try RedisConnection(
        endpoint: resolver.rules.endpoint, timeouts: resolver.rules.timeouts, at: questions.address)
      id = try fresh.command(["CLIENT", "ID"]).integer ?? 0
      _ = try fresh.command(["SUBSCRIBE", "__redis__:invalidate"])
      opened = consume fresh
    } catch {
      return noteRefusal(error)
    }
    do throws(RedisError) {
      _ = try questions.command([
        "CLIENT", "TRACKING", "ON", "REDIRECT", String(id), "BCAST", "PREFIX", resolver.rules.setKey,
      ])
    } catch {
      if error.endsConnection { throw error }
      return noteRefusal(error)
    }
    guard let fresh = opened.take() else { return }
    registration = try? loop.register(fresh.descriptor, events: EPOLLIN.rawValue, handler: self)
    connection = consume fresh
    isBroken = false
    hasUnansweredPing = false
  }

  private func noteRefusal(_ error: RedisError) {
    isBroken = error.endsConnection
    if hasLoggedRefusal || isBroken { return }
    hasLoggedRefusal = true
    Log.warning(
      "redis does not report changes; removed members stay until their time to live ends",
      ["set": resolver.rules.setKey, "error": error.description])
  }

  /// Checks once a second that the subscription lives (PING is allowed in it: Redis manual, Pub/Sub).
  func probe() {
    guard connection != nil else { return }
    if hasUnansweredPing {
      breakDown()
      return
    }
    do {
      connection!.append(["PING"])
      try connection!.flush()
      hasUnansweredPing = true
    } catch {
      breakDown()
    }
  }

  /// Whether the question connection must be made anew for changes to arrive.
  var needsNewConnection: Bool { isBroken }

  func handle(events: UInt32, loop: EventLoop) {
    do {
      while try connection?.nextReplyIfArrived(reusing: &reply) == true { receive(reply.view) }
    } catch {
      breakDown()
    }
  }

  /// `message __redis__:invalidate [keys]`, nil instead of the list after FLUSHALL; or the answer to PING.
  private func receive(_ message: RedisReplyView) {
    guard message.count == 3, message[0].string == "message" else {
      hasUnansweredPing = false
      return
    }
    let keys = message[2]
    var isOurs = keys.isNil
    for index in 0..<keys.count where keys[index].string == resolver.rules.setKey { isOurs = true }
    if isOurs {
      resolver.metrics.invalidations.add()
      resolver.cache.invalidate()
    }
  }

  /// From here on changes may go unnoticed: everything is asked again.
  private func breakDown() {
    close()
    isBroken = true
    resolver.cache.invalidate()
  }

  private func close() {
    if let registration { loop.deregister(registration) }
    registration = nil
    connection = nil
  }
}
