// HTTPConnectionTable: the connections of one server as flat memory: a slab of plain structs, no object each. On the
// server's loop's thread.

import Glibc
import Linux
import Wire

/// The state of one connection, about 150 bytes.
struct HTTPConnection {
  enum Phase: UInt8 {
    /// The slot is unused.
    case free
    /// Part of a request is there, or the connection is new: the read timeout runs.
    case reading
    /// Between requests: the idle timeout runs.
    case idle
    /// The handler has the request; only the write timeout of earlier replies may run.
    case parked
    /// `output` waits for the kernel: the write timeout runs, nothing is parsed.
    case writing
    /// Everything is sent and the sending side is shut; what still arrives is thrown away, because closing with unread
    /// bytes would reset the connection and take the reply from the client (RFC 9112 section 9.6).
    case lingering
  }

  var descriptor: Int32 = -1
  /// Changes when the slot is freed, so that events and tickets of an earlier connection match nothing.
  var generation: UInt32 = 0
  var phase = Phase.free
  /// Counts parked requests, for tickets.
  var sequence: UInt8 = 0
  /// The EPOLL* bits asked for; nil before the first registration.
  var watched: UInt32?
  /// No request follows: close when what is owed has been sent.
  var closesAfterOutput = false
  /// Unread bytes may exist at the close: linger.
  var lingers = false
  /// Of the parked request.
  var parkedIsHead = false
  var parkedPersistence = HTTPPersistence.implied
  /// CLOCK_MONOTONIC nanoseconds; UInt64.max when no timeout runs.
  var deadline = UInt64.max
  /// nil on a unix socket.
  var peer: Endpoint?
  /// Whether the peer's HostNetwork counts it.
  var isCounted = false
  /// Received bytes that are not a whole request yet, or wait behind an unsent or parked one.
  var input = HTTPBuffer()
  /// What the parser knows of `input`.
  var parser = HTTPRequestParser()
  /// Replies the kernel has not taken.
  var output = HTTPBuffer()
}

/// A growing slab with a free list.
final class HTTPConnectionTable {
  private var base: UnsafeMutablePointer<HTTPConnection>
  private(set) var capacity = 64
  private var free: [UInt32] = []
  /// Slots ever used; the ones above have never been.
  private(set) var usedSlots = 0
  /// Open connections.
  private(set) var count = 0
  /// Those that count for their HostNetwork.
  private var networks: [HostNetwork: UInt32] = [:]

  init() { base = .allocate(capacity: capacity) }
  deinit { base.deallocate() }

  /// The connection in a slot below `usedSlots`. Adding one may move them all.
  subscript(index: UInt32) -> UnsafeMutablePointer<HTTPConnection> { base + Int(index) }

  /// Connections that count for a network.
  func count(of network: HostNetwork) -> Int { Int(networks[network] ?? 0) }

  /// Takes a slot; its generation stays what it was. The connection counts for `network`, which is the peer's.
  func add(descriptor: Int32, peer: Endpoint?, network: HostNetwork? = nil, deadline: UInt64) -> UInt32 {
    count += 1
    if let network { networks[network, default: 0] += 1 }
    let index: UInt32
    if let reused = free.popLast() {
      index = reused
    } else {
      if usedSlots == capacity { grow() }
      index = UInt32(usedSlots)
      (base + usedSlots).initialize(to: HTTPConnection())
      usedSlots += 1
    }
    let connection = self[index]
    connection.pointee.descriptor = descriptor
    connection.pointee.peer = peer
    connection.pointee.isCounted = network != nil
    connection.pointee.deadline = deadline
    connection.pointee.phase = .reading
    return index
  }

  /// Frees a slot whose descriptor is closed and whose buffers are given back.
  func remove(_ index: UInt32) {
    count -= 1
    if self[index].pointee.isCounted, let peer = self[index].pointee.peer { forget(HostNetwork(of: peer.address)) }
    let generation = self[index].pointee.generation &+ 1
    self[index].pointee = HTTPConnection()
    self[index].pointee.generation = generation
    free.append(index)
  }

  private func forget(_ network: HostNetwork) {
    guard let place = networks.index(forKey: network) else { return }
    if networks.values[place] > 1 { networks.values[place] -= 1 } else { networks.remove(at: place) }
  }

  private func grow() {
    let larger = UnsafeMutablePointer<HTTPConnection>.allocate(capacity: capacity * 2)
    larger.moveInitialize(from: base, count: usedSlots)
    base.deallocate()
    base = larger
    capacity *= 2
  }
}
