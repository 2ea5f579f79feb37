// HTTPAcceptor: accepts the connections of one listener for its server; pauses when the process has no descriptor left.
// On the server's loop's thread.

import CLinux
import Glibc
import Linux

/// What new connections are given to.
protocol HTTPAcceptorOwner: AnyObject {
  /// Takes the connected, non-blocking descriptor. `peer` is nil on a unix socket.
  func accepted(_ descriptor: consuming FileDescriptor, peer: Endpoint?)
  /// Accepting has failed for want of resources and pauses.
  func acceptingPaused(_ error: SystemError, listener: Listener)
}

final class HTTPAcceptor: EventHandler {
  /// Connections taken per event, so that a storm of new ones does not starve the open ones.
  static let acceptsPerEvent = 64
  /// How long accepting pauses when accept(2) fails for want of descriptors or memory: the event would come at once
  /// again and again. Clients wait in the backlog meanwhile.
  static let pauseNanoseconds: UInt64 = 100_000_000

  private let loop: EventLoop
  private let listener: Listener
  private unowned let owner: any HTTPAcceptorOwner
  private var registration: EventLoop.Registration?
  private var isStopped = false

  init(loop: EventLoop, listener: Listener, owner: any HTTPAcceptorOwner) {
    self.loop = loop
    self.listener = listener
    self.owner = owner
  }

  func start() throws(SystemError) {
    // Workers that share a queue are woken one at a time; TCP workers have a queue each.
    let exclusive = listener.isShared ? EPOLLEXCLUSIVE.rawValue : 0
    registration = try loop.register(listener.descriptor, events: EPOLLIN.rawValue | exclusive, handler: self)
  }

  /// Stops after taking what is already connected: closing the queue would reset those clients.
  func stop() {
    isStopped = true
    unregister()
    while acceptOne() {}
    listener.stopListening()
  }

  func handle(events: UInt32, loop: EventLoop) {
    for _ in 0..<Self.acceptsPerEvent where registration == nil || !acceptOne() { return }
  }

  private func unregister() {
    if let registration { loop.deregister(registration) }
    registration = nil
  }

  /// Whether there may be more to accept.
  private func acceptOne() -> Bool {
    var name = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let (number, peer) = withUnsafeMutableBytes(of: &name) { bytes in
      let address = bytes.baseAddress!.assumingMemoryBound(to: sockaddr.self)
      let number = clinux_accept(listener.descriptor, address, &length)
      return (number, number >= 0 && !listener.isUnix ? Endpoint(sockaddr: bytes.baseAddress!) : nil)
    }
    if number >= 0 {
      owner.accepted(FileDescriptor(owning: number), peer: peer)
      return true
    }
    let error = SystemError("accept", subject: listener.address.description)
    switch error.code {
    case EAGAIN: return false
    case EMFILE, ENFILE, ENOBUFS, ENOMEM:
      if !isStopped { pause(error) }
      return false
    // The connection died in the queue, or the network reported an error for it (accept(2)): the next one may be fine.
    default: return true
    }
  }

  private func pause(_ error: SystemError) {
    unregister()
    owner.acceptingPaused(error, listener: listener)
    loop.schedule(afterNanoseconds: Self.pauseNanoseconds) { [weak self] in self?.resumeAfterPause() }
  }

  private func resumeAfterPause() {
    guard !isStopped, registration == nil else { return }
    do throws(SystemError) { try start() } catch { pause(error) }
  }
}
