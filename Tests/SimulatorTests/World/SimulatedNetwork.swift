// SimulatedNetwork: what lies between a process and Redis: each process has a link, which can be refused or silent, and a
// fuse that makes one command of the future go wrong in one of the ways commands do. One thread.

import Redis

/// How a command goes wrong.
enum WireFault: String, CaseIterable {
  /// The connection breaks before the command reached the server.
  case requestLost
  /// The server did it; the connection breaks before the reply.
  case replyLost
  /// Half-open: from the command on nothing comes any more, and nothing arrives.
  case requestSilent
  /// Half-open behind a command that was done.
  case replySilent
  /// The command cannot even be sent.
  case sendFails
}

/// A process' way to Redis.
final class SimulatedLink: RedisDialer, @unchecked Sendable {
  enum Mode: String { case up, refused, silent }
  unowned let world: World
  let name: String
  var mode = Mode.up
  /// The fault of the command after so many others.
  var fuse: (commands: Int, fault: WireFault)?
  /// Commands that the ACL lets through; nil: all.
  var allowed: Set<String>?
  private var wires: [SimulatedWire] = []

  init(_ name: String, world: World) {
    self.name = name
    self.world = world
  }

  override func dial(milliseconds: Int) throws(RedisError) -> RedisWire {
    if mode == .refused || world.isRedisDown { throw .unreachable("refused") }
    if mode == .silent || world.isRedisHung {
      world.charge(milliseconds: milliseconds)
      throw .timedOut(.connect)
    }
    wires.removeAll { $0.state == .broken }
    let wire = SimulatedWire(self)
    wire.session.allowed = allowed
    wires.append(wire)
    return wire
  }

  var hasOpenWire: Bool { wires.contains { $0.state == .open } }

  /// Connections end, as at a restart of Redis.
  func breakWires() {
    for wire in wires { wire.state = .broken }
    wires = []
  }
}

/// One connection.
final class SimulatedWire: RedisWire {
  enum State { case open, broken, silent }
  unowned let link: SimulatedLink
  var state = State.open
  var session = RedisModel.Session()
  private var inbox: [UInt8] = []

  init(_ link: SimulatedLink) { self.link = link }

  override func send(_ bytes: UnsafeRawBufferPointer, milliseconds: Int) throws(RedisError) {
    let world = link.world
    for command in RESP.commands(bytes) {
      if state == .broken { throw .closed("by the simulation") }
      if state == .silent || link.mode == .silent || world.isRedisHung {
        // Taken by the kernel, and never acknowledged.
        state = .silent
        return
      }
      if link.mode == .refused || world.isRedisDown {
        state = .broken
        throw .closed("by the simulation")
      }
      let fault = burn()
      switch fault {
      case .requestLost: state = .broken
      case .requestSilent: state = .silent
      case .sendFails:
        state = .broken
        throw .closed("by the simulation")
      case .replyLost:
        _ = world.executeOnRedis(command, &session)
        state = .broken
      case .replySilent:
        _ = world.executeOnRedis(command, &session)
        state = .silent
      case nil: world.executeOnRedis(command, &session).encode(into: &inbox)
      }
      // What is behind it in the pipe is lost with it; the sender learns of it when it reads.
      if fault != nil { return }
    }
  }

  private func burn() -> WireFault? {
    guard let fuse = link.fuse else { return nil }
    guard fuse.commands == 0 else {
      link.fuse!.commands -= 1
      return nil
    }
    link.fuse = nil
    return fuse.fault
  }

  override func receive(into buffer: UnsafeMutableRawBufferPointer, isWaiting: Bool) throws(RedisError) -> Int? {
    if !inbox.isEmpty {
      let count = min(inbox.count, buffer.count)
      buffer.copyBytes(from: inbox[..<count])
      inbox.removeFirst(count)
      return count
    }
    if state == .broken { throw .closed("by the simulation") }
    if isWaiting { link.world.charge(milliseconds: World.readMilliseconds) }
    return nil
  }
}
