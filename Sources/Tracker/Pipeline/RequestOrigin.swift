// RequestOrigin: where the reply to a parked request goes. Made by a frontend, kept by the pipeline, handed back to the
// same frontend on the same worker's thread.

import CLinux
import Glibc

/// The transport's half of a parked request.
enum RequestOrigin {
  /// The index of the worker's UDP socket, the way back to the sender and its transaction id (BEP 15).
  case udp(socket: Int, path: ReplyPath, transactionID: UInt32)
  /// The connection and request (HTTPServer's park ticket, which knows HEAD from GET), and the form of the peer list.
  case http(ticket: UInt64, form: UInt8)
  /// The same for a scrape; the frontend keeps what it asks for.
  case httpScrape(ticket: UInt64)
}

/// Where a datagram's reply goes, and from which of our addresses.
struct ReplyPath {
  var sender: sockaddr_in6
  /// What `clinux_reply_from` made.
  var control: clinux_control
  /// 0: the socket has one address.
  var controlBytes: Int
}
