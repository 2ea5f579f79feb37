// HTTPBufferPool: lends memory to the connections that hold a partial request or an unsent reply; an idle connection
// holds none. One per server, on its loop's thread.

import Glibc

/// Borrowed memory with the bytes `start..<count` in use. Plain data inside the connection table: it must go back to the
/// pool by `giveBack`.
struct HTTPBuffer {
  var base: UnsafeMutableRawPointer?
  var capacity: Int32 = 0
  var start: Int32 = 0
  var count: Int32 = 0

  var isLent: Bool { base != nil }
  var bytes: UnsafeRawBufferPointer {
    UnsafeRawBufferPointer(start: base.map { UnsafeRawPointer($0) + Int(start) }, count: Int(count - start))
  }

  mutating func append(_ bytes: UnsafeRawBufferPointer) {
    guard let source = bytes.baseAddress else { return }
    memcpy(base! + Int(count), source, bytes.count)
    count += Int32(bytes.count)
  }
}

/// Free buffers by size.
struct HTTPBufferPool: ~Copyable {
  /// Most partial requests fit the first; the last holds the largest legal request with its body.
  static let sizes = [2048, 8192, 40960]
  /// Buffers of one size that are kept for the next borrower: a burst's memory goes back to the system.
  static let maximumKept = 64

  private var free: [[UnsafeMutableRawPointer]] = Array(repeating: [], count: sizes.count)
  /// Buffers that are out.
  private(set) var lentCount = 0

  deinit {
    for list in free { for base in list { base.deallocate() } }
  }

  /// A buffer of at least `byteCount` bytes.
  mutating func lend(atLeast byteCount: Int) -> HTTPBuffer {
    lentCount += 1
    guard let size = Self.sizes.firstIndex(where: { $0 >= byteCount }) else {
      return HTTPBuffer(base: .allocate(byteCount: byteCount, alignment: 16), capacity: Int32(byteCount))
    }
    let base = free[size].popLast() ?? .allocate(byteCount: Self.sizes[size], alignment: 16)
    return HTTPBuffer(base: base, capacity: Int32(Self.sizes[size]))
  }

  /// Takes a buffer back; nothing happens when it holds no memory.
  mutating func giveBack(_ buffer: inout HTTPBuffer) {
    guard let base = buffer.base else { return }
    lentCount -= 1
    if let size = Self.sizes.firstIndex(of: Int(buffer.capacity)), free[size].count < Self.maximumKept {
      free[size].append(base)
    } else {
      base.deallocate()
    }
    buffer = HTTPBuffer()
  }

  /// Makes room for `byteCount` bytes after the used ones: moves them to the front, or to a larger buffer.
  mutating func reserve(_ byteCount: Int, in buffer: inout HTTPBuffer) {
    if Int(buffer.capacity - buffer.count) >= byteCount { return }
    let used = buffer.bytes
    if let base = buffer.base, Int(buffer.capacity) - used.count >= byteCount {
      memmove(base, used.baseAddress!, used.count)
      buffer.count = Int32(used.count)
      buffer.start = 0
      return
    }
    var larger = lend(atLeast: used.count + byteCount)
    larger.append(used)
    giveBack(&buffer)
    buffer = larger
  }
}
