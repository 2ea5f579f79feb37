// TrafficEventFuzz: any fields of a stream entry give an event or an error, and an event encodes to fields that decode to
// it again. The input is a list of fields: a length byte and that many bytes each. Built by Tests/Fuzz/run with Traffic/.

import Wire

@_cdecl("LLVMFuzzerTestOneInput")
public func fuzzTrafficEvent(_ data: UnsafePointer<UInt8>?, _ size: Int) -> CInt {
  let bytes = UnsafeRawBufferPointer(start: data, count: size)
  var parts: [UnsafeRawBufferPointer] = []
  var offset = 0
  while offset < size {
    let length = min(Int(bytes[offset]), size - offset - 1)
    parts.append(UnsafeRawBufferPointer(rebasing: bytes[offset + 1..<offset + 1 + length]))
    offset += 1 + length
  }
  guard let event = decode(parts) else { return 0 }
  var again: [UnsafeRawBufferPointer] = []
  let encoded = event.encode().map { Array($0.utf8) }
  for text in encoded {
    let copy = UnsafeMutableRawBufferPointer.allocate(byteCount: text.count, alignment: 1)
    copy.copyBytes(from: text)
    again.append(UnsafeRawBufferPointer(copy))
  }
  precondition(decode(again) == event, "an event that was encoded decodes to another one")
  for copy in again { copy.deallocate() }
  return 0
}

private func decode(_ parts: [UnsafeRawBufferPointer]) -> TrafficEvent? {
  var decoder = TrafficEventDecoder()
  do throws(TrafficDecodeError) {
    for index in stride(from: 0, to: parts.count - 1, by: 2) {
      try decoder.take(name: parts[index], value: parts[index + 1])
    }
    return try decoder.finish()
  } catch {
    precondition(!error.description.isEmpty)
    return nil
  }
}
