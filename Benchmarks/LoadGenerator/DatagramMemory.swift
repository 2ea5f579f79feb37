// DatagramMemory: the buffers of one sendmmsg and one recvmmsg, set up once. Used by UDPLoad.

import CLinux
import Glibc

/// Buffers for `capacity` requests and as many replies.
struct DatagramMemory: ~Copyable {
  static let capacity = 64
  /// More than any reply: an Ethernet frame's worth.
  static let replyByteCount = 2048

  private let requests: UnsafeMutableRawPointer
  private let replies: UnsafeMutableRawPointer
  private let requestSlices: UnsafeMutablePointer<iovec>
  private let replySlices: UnsafeMutablePointer<iovec>
  private let outgoing: UnsafeMutablePointer<clinux_mmsghdr>
  private let incoming: UnsafeMutablePointer<clinux_mmsghdr>

  init(_ datagram: AnnounceDatagram, _ options: LoadOptions) {
    let count = Self.capacity
    requests = .allocate(byteCount: count * AnnounceDatagram.slotByteCount, alignment: 64)
    replies = .allocate(byteCount: count * Self.replyByteCount, alignment: 64)
    requestSlices = .allocate(capacity: count)
    replySlices = .allocate(capacity: count)
    outgoing = .allocate(capacity: count)
    incoming = .allocate(capacity: count)
    outgoing.initialize(repeating: clinux_mmsghdr(), count: count)
    incoming.initialize(repeating: clinux_mmsghdr(), count: count)
    for index in 0..<count {
      let slot = requests + index * AnnounceDatagram.slotByteCount
      datagram.prepare(slot, options)
      requestSlices[index] = iovec(iov_base: slot, iov_len: datagram.byteCount)
      replySlices[index] = iovec(iov_base: replies + index * Self.replyByteCount, iov_len: Self.replyByteCount)
      outgoing[index].msg_hdr.msg_iov = requestSlices + index
      outgoing[index].msg_hdr.msg_iovlen = 1
      incoming[index].msg_hdr.msg_iov = replySlices + index
      incoming[index].msg_hdr.msg_iovlen = 1
    }
  }

  deinit {
    requests.deallocate()
    replies.deallocate()
    requestSlices.deallocate()
    replySlices.deallocate()
    outgoing.deallocate()
    incoming.deallocate()
  }

  @inline(__always)
  func request(_ index: Int) -> UnsafeMutableRawPointer { requests + index * AnnounceDatagram.slotByteCount }
  @inline(__always)
  func setLength(_ length: Int, of index: Int) { requestSlices[index].iov_len = length }

  /// Sends the first `count` requests; how many went.
  @inline(__always)
  func send(_ count: Int, to descriptor: Int32) -> Int {
    var sent = 0
    while sent < count {
      let now = Int(clinux_sendmmsg(descriptor, outgoing + sent, UInt32(count - sent), 0))
      if now <= 0 { break }
      sent += now
    }
    return sent
  }

  /// Takes the replies that are there; how many.
  @inline(__always)
  func receive(from descriptor: Int32) -> Int {
    max(0, Int(clinux_recvmmsg(descriptor, incoming, UInt32(Self.capacity), 0)))
  }

  @inline(__always)
  func reply(_ index: Int) -> UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: replies + index * Self.replyByteCount, count: Int(incoming[index].msg_len))
  }
}
