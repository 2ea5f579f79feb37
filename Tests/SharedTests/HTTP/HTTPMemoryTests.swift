import Testing

@testable import HTTP

@Suite("HTTP connection memory")
struct HTTPMemoryTests {
  @Test("an idle connection costs a table entry and nothing else")
  func entrySize() throws {
    // 10,000 idle connections may take 4 KB each; an entry stays far below, so that a sweep for timeouts is cheap too.
    #expect(MemoryLayout<HTTPConnection>.stride <= 192)
    let server = try TestServer()
    defer { server.stop() }
    let clients = try TestConnections(count: 100, server.address)
    for number in 0..<100 { _ = try clients.get(number, "/big/10000") }
    #expect(server.onLoop { server, _ in (server.connectionCount, server.lentBuffers) } == (100, 0))
  }

  @Test("a slot that is used again has another generation, and growing keeps every connection")
  func table() {
    let table = HTTPConnectionTable()
    let indices = (0..<200).map { table.add(descriptor: Int32($0), peer: nil, deadline: UInt64($0)) }
    #expect(indices == Array(0..<200) && table.capacity >= 200)
    for index in indices {
      #expect(table[index].pointee.descriptor == Int32(index) && table[index].pointee.deadline == UInt64(index))
    }
    let before = table[7].pointee.generation
    table.remove(7)
    #expect(table.count == 199 && table[7].pointee.phase == .free)
    #expect(table.add(descriptor: 1, peer: nil, deadline: 0) == 7)
    #expect(table[7].pointee.generation == before &+ 1)
  }

  @Test("a ticket names its connection, generation and request")
  func ticket() {
    let ticket = HTTPTicket(index: 0xff_fffe, generation: 0xdead_beef, sequence: 0xa5)
    let copy = HTTPTicket(rawValue: ticket.rawValue)
    #expect((copy.index, copy.generation, copy.sequence) == (0xff_fffe, 0xdead_beef, 0xa5))
  }

  @Test("buffers come in sizes, keep their bytes when they grow, and are lent again")
  func pool() {
    var pool = HTTPBufferPool()
    var buffer = pool.lend(atLeast: 1)
    let smallest = buffer.base
    #expect(Int(buffer.capacity) == HTTPBufferPool.sizes[0])
    let bytes = (0..<HTTPBufferPool.sizes[0]).map { UInt8(truncatingIfNeeded: $0) }
    bytes.withUnsafeBytes { buffer.append($0) }
    buffer.start = 100
    // Room is made at the front first, then in a larger buffer.
    pool.reserve(100, in: &buffer)
    #expect(buffer.base == smallest && buffer.start == 0 && Array(buffer.bytes) == Array(bytes[100...]))
    pool.reserve(101, in: &buffer)
    #expect(Int(buffer.capacity) == HTTPBufferPool.sizes[1] && Array(buffer.bytes) == Array(bytes[100...]))
    #expect(pool.lentCount == 1)
    pool.giveBack(&buffer)
    #expect(pool.lentCount == 0 && !buffer.isLent)
    var again = pool.lend(atLeast: HTTPBufferPool.sizes[0])
    #expect(again.base == smallest)
    pool.giveBack(&again)
    var huge = pool.lend(atLeast: HTTPBufferPool.sizes.last! + 1)
    #expect(Int(huge.capacity) == HTTPBufferPool.sizes.last! + 1)
    pool.giveBack(&huge)
  }

  @Test("the largest buffer holds the largest legal request")
  func largestRequest() {
    let largest = HTTPRequestParser.maximumHeadBytes + HTTPRequestParser.maximumBodyBytes
    #expect(HTTPBufferPool.sizes.last! >= largest + HTTPBufferPool.sizes[0] / 2)
    #expect(HTTPServer.receiveBytes >= largest)
  }
}
