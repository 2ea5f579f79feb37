// HTTPAnnounceFuzz: any path and query into the announce and scrape parsers give a request or a refusal, never a trap.
// The input is a request target. Built by Tests/Fuzz/run with the parser files of Sources/Tracker.

import Glibc
import Wire

private let parsers = [false, true].map { allowsSpoofing in
  QueryParser(
    routes: RouteTable(
      announceRoutes: ["/announce", "/announce/:passkey", "/:user/:passkey/a"],
      scrapeRoutes: ["/scrape", "/scrape/:passkey"]), maxScrapeInfoHashes: 8, allowIPSpoofing: allowsSpoofing)
}
nonisolated(unsafe) private let room = UnsafeMutableRawPointer.allocate(byteCount: 8 * InfoHash.byteCount, alignment: 8)

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTPAnnounce(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let target = UnsafeRawBufferPointer(start: data, count: size)
  let pathEnd = target.firstIndex(of: UInt8(ascii: "?")) ?? size
  let path = UnsafeRawBufferPointer(rebasing: target[..<pathEnd])
  let query = UnsafeRawBufferPointer(rebasing: target[min(pathEnd + 1, size)...])
  for parser in parsers {
    let match = parser.routes.match(path)
    let segment = match?.passkey.map { UnsafeRawBufferPointer(rebasing: path[$0]) }
    do throws(Refusal) {
      let (request, _) = try parser.parseAnnounce(
        query: query, passkeySegment: segment, from: IPAddress(v4: 0x0100_007f))
      precondition(request.port != 0)
      if let other = request.otherAddress { precondition(other.family != request.address.family) }
    } catch {
      precondition(error.text.utf8CodeUnitCount > 0)
    }
    do throws(Refusal) {
      let count = try parser.parseScrape(query: query, passkeySegment: segment, into: room).count
      precondition((1...8).contains(count))
      for index in 1..<count {
        precondition(memcmp(room + (index - 1) * 20, room + index * 20, 20) < 0, "scrape keys are not sorted")
      }
    } catch {
      precondition(error == .invalidInfoHash || error == .invalidPasskey)
    }
  }
  return 0
}
