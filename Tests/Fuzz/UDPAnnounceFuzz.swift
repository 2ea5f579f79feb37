// UDPAnnounceFuzz: any datagram into the UDP parser gives a request or a refusal, never a trap. Built by Tests/Fuzz/run
// with the parser files of Sources/Tracker.

import Wire

private let parsers = [false, true].map { allowsSpoofing in
  UDPParser(
    routes: RouteTable(
      announceRoutes: ["/announce", "/announce/:passkey", "/:user/:passkey/a"], scrapeRoutes: ["/scrape"]),
    maxScrapeInfoHashes: 8, allowIPSpoofing: allowsSpoofing)
}

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzUDPAnnounce(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let datagram = UnsafeRawBufferPointer(start: data, count: size)
  // The frontend drops what is shorter.
  guard size >= UDPRequestHead.byteCount else { return 0 }
  let head = UDPRequestHead(datagram)
  for parser in parsers {
    for address in [IPAddress(v4: 0x0100_007f), IPAddress("2001:db8::1")!] {
      switch parser.parse(datagram, action: head.action, from: address) {
      case .announce(let request):
        precondition(request.port != 0 && size >= UDPParser.announceByteCount)
        precondition(request.address.family == address.family)
      case .scrape(let range):
        precondition(range.lowerBound == 16 && range.upperBound <= size && range.count % 20 == 0)
        precondition((20...160).contains(range.count))
      case .refused(let refusal): precondition(refusal.text.utf8CodeUnitCount > 0)
      }
    }
  }
  return 0
}
