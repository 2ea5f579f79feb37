// RequestOrigin: where the reply to a parked request goes. Made by a frontend, kept by the pipeline, handed back to the
// same frontend on the same worker's thread.

/// The transport's half of a parked request.
enum RequestOrigin {
  /// The index of the worker's UDP socket, the way back to the sender and his transaction id (BEP 15).
  case udp(socket: Int, path: ReplyPath, transactionID: UInt32)
  /// The index of the worker's HTTP listener, the connection and request (HTTPServer's park ticket), and what the
  /// writer must know of the request: HEAD or GET is in the ticket, the form of the peer list is here.
  case http(listener: Int, ticket: UInt64, form: UInt8)
  /// The same for a scrape; the frontend keeps what it asks for.
  case httpScrape(ticket: UInt64)
}
