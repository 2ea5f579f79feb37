// AnnounceRequestText: the bytes of an HTTP announce, as qBittorrent writes it. Constant parts are prepared once. Used by
// HTTPLoad.

import Glibc

/// Builds requests.
struct AnnounceRequestText: ~Copyable {
  /// A constant part.
  private struct Part {
    let bytes: UnsafeMutableRawPointer
    let count: Int

    init(_ text: String) {
      count = text.utf8.count
      bytes = .allocate(byteCount: max(1, count), alignment: 8)
      for (index, byte) in text.utf8.enumerated() { bytes.storeBytes(of: byte, toByteOffset: index, as: UInt8.self) }
    }
  }

  /// More than the longest request: the constant parts, a path of 128 bytes and all numbers at their longest.
  static let maximumByteCount = 768

  private let hasPasskey: Bool
  private let line: Part
  private let infoHash = Part("?info_hash=")
  private let peerID = Part(String(repeating: "%00", count: 12) + "&peer_id=-qB4500-")
  private let port = Part("&port=")
  private let uploaded = Part("&uploaded=")
  private let downloaded = Part("&downloaded=")
  private let left = Part("&left=")
  private let rest: Part

  init(_ options: LoadOptions) {
    hasPasskey = options.passkeys > 0
    line = Part("GET " + options.path + (hasPasskey ? String(repeating: "0", count: 24) : ""))
    rest = Part(
      "&corrupt=0&key=1A2B3C4D&numwant=\(options.numwant)&compact=1&no_peer_id=1&supportcrypto=1&redundant=0 HTTP/1.1\r\n"
        + "Host: 127.0.0.1\r\nUser-Agent: qBittorrent/4.5.2\r\nAccept-Encoding: gzip\r\n"
        + "Connection: \(options.keepsAlive ? "keep-alive" : "close")\r\n\r\n")
  }

  deinit {
    for part in [line, infoHash, peerID, port, uploaded, downloaded, left, rest] { part.bytes.deallocate() }
  }

  /// What changes from one announce to the next.
  struct Announce {
    var peer: UInt32
    var torrent: UInt32
    var passkey: UInt32
    var uploaded: UInt64
    var downloaded: UInt64
  }

  /// Writes an announce; returns its length.
  @inline(__always)
  func write(_ announce: Announce, to memory: UnsafeMutableRawPointer) -> Int {
    var end = memory
    put(line, &end)
    if hasPasskey {
      HexDigits.put(announce.passkey, end)
      end += HexDigits.count
    }
    put(infoHash, &end)
    percentEncode(PeerPlan.infoHashHead(announce.torrent), &end)
    put(peerID, &end)
    putPadded(announce.peer, &end)
    put(port, &end)
    put(UInt64(PeerPlan.httpPort(of: announce.peer)), &end)
    put(uploaded, &end)
    put(announce.uploaded, &end)
    put(downloaded, &end)
    put(announce.downloaded, &end)
    put(left, &end)
    put(announce.peer & 1 == 1 ? 0 : 1_000_000, &end)
    put(rest, &end)
    return end - memory
  }

  @inline(__always)
  private func put(_ part: Part, _ end: inout UnsafeMutableRawPointer) {
    memcpy(end, part.bytes, part.count)
    end += part.count
  }

  /// Eight bytes as %xx.
  @inline(__always)
  private func percentEncode(_ value: UInt64, _ end: inout UnsafeMutableRawPointer) {
    withUnsafeTemporaryAllocation(byteCount: 2 * HexDigits.count, alignment: 8) { digits in
      HexDigits.put(UInt32(value >> 32), digits.baseAddress!)
      HexDigits.put(UInt32(truncatingIfNeeded: value), digits.baseAddress! + HexDigits.count)
      for byte in 0..<8 {
        end.storeBytes(of: UInt8(ascii: "%"), as: UInt8.self)
        end.storeBytes(of: digits[2 * byte], toByteOffset: 1, as: UInt8.self)
        end.storeBytes(of: digits[2 * byte + 1], toByteOffset: 2, as: UInt8.self)
        end += 3
      }
    }
  }

  /// In decimal.
  @inline(__always)
  private func put(_ number: UInt64, _ end: inout UnsafeMutableRawPointer) {
    var count = 1
    var power: UInt64 = 10
    while power <= number {
      count += 1
      power *= 10
    }
    var rest = number
    for place in stride(from: count - 1, through: 0, by: -1) {
      end.storeBytes(of: UInt8(ascii: "0") + UInt8(rest % 10), toByteOffset: place, as: UInt8.self)
      rest /= 10
    }
    end += count
  }

  /// In decimal, twelve digits.
  @inline(__always)
  private func putPadded(_ number: UInt32, _ end: inout UnsafeMutableRawPointer) {
    var rest = number
    for place in stride(from: 11, through: 0, by: -1) {
      end.storeBytes(of: UInt8(ascii: "0") + UInt8(rest % 10), toByteOffset: place, as: UInt8.self)
      rest /= 10
    }
    end += 12
  }
}
