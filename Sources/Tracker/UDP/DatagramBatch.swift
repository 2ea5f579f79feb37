// DatagramBatch: the memory of one recvmmsg and one sendmmsg, set up once. Used by one worker's UDPFrontend.

import CLinux
import Glibc
import Linux

/// Received datagrams and the replies to them.
final class DatagramBatch {
  /// Datagrams per system call: the cost of the call is spread thin, and both buffers stay in the second-level cache.
  static let capacity = 64
  /// The longest request that is understood: an Ethernet frame's worth. What is longer is cut by the kernel and then
  /// refused for its length.
  static let datagramBytes = 1500

  private let received: UnsafeMutablePointer<clinux_mmsghdr>
  private let receivedSlices: UnsafeMutablePointer<iovec>
  private let senders: UnsafeMutablePointer<sockaddr_in6>
  private let controls: UnsafeMutablePointer<clinux_control>
  private let replies: UnsafeMutablePointer<clinux_mmsghdr>
  private let replySlices: UnsafeMutablePointer<iovec>
  private let receiveMemory: UnsafeMutableRawPointer
  private let replyMemory: UnsafeMutableRawPointer
  private var replyCount = 0

  init() {
    let count = Self.capacity
    received = .allocate(capacity: count)
    receivedSlices = .allocate(capacity: count)
    senders = .allocate(capacity: count)
    controls = .allocate(capacity: count)
    replies = .allocate(capacity: count)
    replySlices = .allocate(capacity: count)
    receiveMemory = .allocate(byteCount: count * Self.datagramBytes, alignment: 64)
    replyMemory = .allocate(byteCount: (count + 1) * UDPWriter.bufferBytes, alignment: 64)
    senders.initialize(repeating: sockaddr_in6(), count: count)
    controls.initialize(repeating: clinux_control(), count: count)
    received.initialize(repeating: clinux_mmsghdr(), count: count)
    replies.initialize(repeating: clinux_mmsghdr(), count: count)
    for index in 0..<count {
      receivedSlices[index] = iovec(
        iov_base: receiveMemory + index * Self.datagramBytes, iov_len: Self.datagramBytes)
      received[index].msg_hdr.msg_iov = receivedSlices + index
      received[index].msg_hdr.msg_iovlen = 1
      received[index].msg_hdr.msg_name = UnsafeMutableRawPointer(senders + index)
      received[index].msg_hdr.msg_control = UnsafeMutableRawPointer(controls + index)
      replySlices[index] = iovec(iov_base: replyMemory + index * UDPWriter.bufferBytes, iov_len: 0)
      replies[index].msg_hdr.msg_iov = replySlices + index
      replies[index].msg_hdr.msg_iovlen = 1
    }
  }

  deinit {
    received.deallocate()
    receivedSlices.deallocate()
    senders.deallocate()
    controls.deallocate()
    replies.deallocate()
    replySlices.deallocate()
    receiveMemory.deallocate()
    replyMemory.deallocate()
  }

  /// Takes up to `capacity` datagrams from a non-blocking socket; how many.
  func receive(from descriptor: Int32) -> Int {
    replyCount = 0
    for index in 0..<Self.capacity {
      received[index].msg_hdr.msg_namelen = socklen_t(MemoryLayout<sockaddr_in6>.size)
      received[index].msg_hdr.msg_controllen = MemoryLayout<clinux_control>.size
      received[index].msg_hdr.msg_flags = 0
    }
    let count = retryingInterrupts {
      Int(clinux_recvmmsg(descriptor, received, UInt32(Self.capacity), Int32(MSG_DONTWAIT)))
    }
    return max(0, count)
  }

  /// The bytes of a received datagram; empty when it was longer than the buffer.
  func datagram(_ index: Int) -> UnsafeRawBufferPointer {
    let isCut = received[index].msg_hdr.msg_flags & Int32(MSG_TRUNC) != 0
    return UnsafeRawBufferPointer(
      start: receiveMemory + index * Self.datagramBytes, count: isCut ? 0 : Int(received[index].msg_len))
  }

  func sender(_ index: Int) -> Endpoint? { Endpoint(sockaddr: UnsafeRawPointer(senders + index)) }

  /// The way back to the sender, for a reply after the batch is gone.
  func replyPath(_ index: Int) -> ReplyPath {
    clinux_reply_from(&received[index].msg_hdr)
    return ReplyPath(
      sender: senders[index], control: controls[index], controlBytes: received[index].msg_hdr.msg_controllen)
  }

  /// Where the next reply is built; behind the last one there is always room for one more.
  var replyBuffer: UnsafeMutableRawPointer { replyMemory + replyCount * UDPWriter.bufferBytes }

  /// Queues the `length` bytes in `replyBuffer` for the sender of a datagram.
  func reply(to index: Int, _ length: Int) {
    replySlices[replyCount].iov_len = length
    replies[replyCount].msg_hdr.msg_name = UnsafeMutableRawPointer(senders + index)
    replies[replyCount].msg_hdr.msg_namelen = received[index].msg_hdr.msg_namelen
    clinux_reply_from(&received[index].msg_hdr)
    replies[replyCount].msg_hdr.msg_control = received[index].msg_hdr.msg_control
    replies[replyCount].msg_hdr.msg_controllen = received[index].msg_hdr.msg_controllen
    replyCount += 1
  }

  /// Sends what is queued; returns how many replies could not be sent. A full socket buffer loses replies as a full
  /// network does: the client asks again (BEP 15, time outs).
  func send(to descriptor: Int32) -> Int {
    var sent = 0
    var lost = 0
    while sent < replyCount {
      let count = retryingInterrupts {
        Int(
          clinux_sendmmsg(
            descriptor, replies + sent, UInt32(replyCount - sent),
            Int32(MSG_DONTWAIT | MSG_NOSIGNAL)))
      }
      if count > 0 {
        sent += count
      } else {
        // The first of them failed, for a reason of its own: the rest is tried without it.
        sent += 1
        lost += 1
      }
    }
    replyCount = 0
    return lost
  }

  /// Sends one reply that was not part of a batch; returns how many were lost, 0 or 1.
  static func send(_ bytes: UnsafeRawBufferPointer, along path: ReplyPath, _ socket: UDPSocket) -> Int {
    var path = path
    let isV4 = Int32(path.sender.sin6_family) == AF_INET
    var message = msghdr()
    message.msg_namelen = socklen_t(isV4 ? MemoryLayout<sockaddr_in>.size : MemoryLayout<sockaddr_in6>.size)
    message.msg_controllen = path.controlBytes
    message.msg_iovlen = 1
    var slice = iovec(iov_base: UnsafeMutableRawPointer(mutating: bytes.baseAddress), iov_len: bytes.count)
    let sent = withUnsafeMutablePointer(to: &slice) { slice in
      withUnsafeMutablePointer(to: &path.sender) { sender in
        withUnsafeMutablePointer(to: &path.control) { control in
          message.msg_iov = slice
          message.msg_name = UnsafeMutableRawPointer(sender)
          message.msg_control = UnsafeMutableRawPointer(control)
          return retryingInterrupts {
            sendmsg(socket.descriptor, &message, Int32(MSG_DONTWAIT | MSG_NOSIGNAL))
          }
        }
      }
    }
    return sent == bytes.count ? 0 : 1
  }
}
