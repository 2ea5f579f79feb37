// PasskeyText: which passkey of a request counts, the same for both transports. Pure; used by QueryParser and UDPParser on a
// worker's thread. No allocation.

import Wire

/// Where a request's passkey may stand, percent-encoded: the `:passkey` segment of a route comes first, then the last
/// `passkey=` of the query.
struct PasskeyText {
  var segment: UnsafeRawBufferPointer?
  var parameter: UnsafeRawBufferPointer?

  /// The passkey; nil when there is none, or an empty one, which is as good as none.
  func passkey() throws(Refusal) -> Passkey? {
    guard let encoded = segment ?? parameter, !encoded.isEmpty else { return nil }
    let decoded: Result<Passkey, Refusal> = withUnsafeTemporaryAllocation(
      byteCount: Passkey.maximumLength, alignment: 8
    ) { buffer in
      guard let count = PercentEncoding.decode(encoded, atMost: buffer.count, to: buffer.baseAddress!),
        let passkey = Passkey(UnsafeRawBufferPointer(rebasing: buffer[..<count]))
      else { return .failure(.invalidPasskey) }
      return .success(passkey)
    }
    return try decoded.get()
  }
}
