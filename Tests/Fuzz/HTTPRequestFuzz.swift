// HTTPRequestFuzz: any bytes into the request parser give a step, never a trap, and it makes no difference in how many
// pieces they come. Built by Tests/Fuzz/run with HTTPRequestParser.swift and HTTPHeaderLines.swift.

import Glibc

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzHTTPRequest(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: data, count: size)
  var whole = HTTPRequestParser()
  let step = whole.advance(bytes)
  checkRanges(whole, step, bytes)
  // The first byte chooses how long the pieces are.
  let stride = 1 + Int(bytes.first ?? 0) % 7
  var pieces = HTTPRequestParser()
  var last = HTTPRequestParser.Step.incomplete
  var end = 0
  while end < size && last == .incomplete {
    end = min(end + stride, size)
    last = pieces.advance(UnsafeRawBufferPointer(rebasing: bytes[..<end]))
  }
  // Bytes behind the request, or behind what makes it fail, may be there or not.
  precondition(last == step, "pieces of \(stride) bytes: \(last), whole: \(step)")
  if step == .complete {
    precondition(whole.byteCount == pieces.byteCount && whole.path == pieces.path && whole.query == pieces.query)
    precondition(whole.wantsPersistence == pieces.wantsPersistence && whole.isHead == pieces.isHead)
  }
  return 0
}

private func checkRanges(_ parser: HTTPRequestParser, _ step: HTTPRequestParser.Step, _ bytes: UnsafeRawBufferPointer) {
  guard step == .complete else { return }
  precondition(parser.byteCount <= bytes.count)
  precondition(parser.path.upperBound <= parser.query.lowerBound)
  precondition(parser.query.upperBound < parser.headerLines.lowerBound)
  precondition(parser.headerLines.upperBound + 2 <= parser.byteCount)
  let headers = HTTPHeaderLines(bytes: UnsafeRawBufferPointer(rebasing: bytes[parser.headerLines]))
  for name in ["host", "x-forwarded-for", "x"] {
    Array(name.utf8).withUnsafeBytes { name in
      headers.forEachValue(of: name) { value in
        precondition(!value.contains(0x0a) && !value.contains(0x0d) && !value.contains(0))
      }
    }
  }
}
