// RedisReply: one reply of the server, owned. hiredis' reader parses; its reply object functions (hiredis/read.h) are
// replaced by ours, which put a whole reply into two flat buffers: no allocation per element, and a reply that is reused
// allocates nothing at all. Belongs to the thread of its connection.

import CHiredis
import Glibc

/// One element: what RESP calls it, and where its bytes, its number or its children are.
@usableFromInline
struct RedisReplyNode {
  @usableFromInline var kind: RedisReplyView.Kind
  /// Bytes of a text, children of an array.
  @usableFromInline var count: Int
  /// The integer, or the offset of the first byte, or the index of the first child (children lie side by side).
  @usableFromInline var value: Int64
}

/// The two buffers of a reply.
@usableFromInline
struct RedisReplyStorage {
  @usableFromInline var nodes: UnsafeMutablePointer<RedisReplyNode>
  @usableFromInline var nodeCount = 0
  var nodeCapacity: Int
  @usableFromInline var bytes: UnsafeMutableRawPointer
  var byteCount = 0
  var byteCapacity: Int

  /// No reply that anybody here asks for has an array of so many elements: a header that says so is refused before room is
  /// made for what it promises.
  static let maximumElements = 1 << 24

  /// Enough for a stream entry; larger replies double it.
  private static let firstNodes = 64
  private static let firstBytes = 1024

  init() {
    nodeCapacity = Self.firstNodes
    byteCapacity = Self.firstBytes
    nodes = .allocate(capacity: nodeCapacity)
    bytes = .allocate(byteCount: byteCapacity, alignment: 8)
  }

  func deallocate() {
    nodes.deallocate()
    bytes.deallocate()
  }

  mutating func removeAll() {
    nodeCount = 0
    byteCount = 0
  }

  /// Room for `count` elements side by side; they are nil until they arrive.
  mutating func reserveNodes(_ count: Int) -> Int {
    if nodeCount + count > nodeCapacity {
      nodeCapacity = max(nodeCapacity * 2, nodeCount + count)
      let larger = UnsafeMutablePointer<RedisReplyNode>.allocate(capacity: nodeCapacity)
      larger.moveInitialize(from: nodes, count: nodeCount)
      nodes.deallocate()
      nodes = larger
    }
    let first = nodeCount
    (nodes + first).initialize(repeating: RedisReplyNode(kind: .nil, count: 0, value: 0), count: count)
    nodeCount += count
    return first
  }

  /// The slot of the element hiredis is at: the root, or the place that its parent reserved.
  mutating func slot(of task: UnsafePointer<redisReadTask>) -> Int {
    guard let parent = task.pointee.parent else { return reserveNodes(1) }
    return Int(nodes[Self.index(of: parent.pointee.obj)].value) + Int(task.pointee.idx)
  }

  mutating func copyIn(_ text: UnsafePointer<CChar>?, _ count: Int) -> Int {
    if byteCount + count > byteCapacity {
      byteCapacity = max(byteCapacity * 2, byteCount + count)
      let larger = UnsafeMutableRawPointer.allocate(byteCount: byteCapacity, alignment: 8)
      larger.copyMemory(from: bytes, byteCount: byteCount)
      bytes.deallocate()
      bytes = larger
    }
    let first = byteCount
    if let text { (bytes + first).copyMemory(from: text, byteCount: count) }
    byteCount += count
    return first
  }

  /// hiredis carries our slot number as the "object": never NULL, never dereferenced.
  static func object(_ index: Int) -> UnsafeMutableRawPointer { UnsafeMutableRawPointer(bitPattern: index + 1)! }
  static func index(of object: UnsafeMutableRawPointer) -> Int { Int(bitPattern: object) - 1 }

  /// The functions given to every reader. Their C types differ between hiredis 0.14 and 1.x (int, size_t).
  nonisolated(unsafe) static let functions: UnsafeMutablePointer<redisReplyObjectFunctions> = {
    let functions = UnsafeMutablePointer<redisReplyObjectFunctions>.allocate(capacity: 1)
    functions.initialize(to: redisReplyObjectFunctions())
    functions.pointee.createString = { task, text, count in
      let storage = task!.pointee.privdata!.assumingMemoryBound(to: RedisReplyStorage.self)
      let slot = storage.pointee.slot(of: task!)
      let kind: RedisReplyView.Kind =
        switch task!.pointee.type {
        case REDIS_REPLY_ERROR: .error
        case REDIS_REPLY_STATUS: .status
        default: .string
        }
      let first = storage.pointee.copyIn(text, Int(count))
      storage.pointee.nodes[slot] = RedisReplyNode(kind: kind, count: Int(count), value: Int64(first))
      return RedisReplyStorage.object(slot)
    }
    functions.pointee.createArray = { task, count in
      let storage = task!.pointee.privdata!.assumingMemoryBound(to: RedisReplyStorage.self)
      // hiredis calls it an error, and with it the connection ends.
      guard Int(count) <= RedisReplyStorage.maximumElements else { return nil }
      let slot = storage.pointee.slot(of: task!)
      let first = storage.pointee.reserveNodes(Int(count))
      storage.pointee.nodes[slot] = RedisReplyNode(kind: .array, count: Int(count), value: Int64(first))
      return RedisReplyStorage.object(slot)
    }
    functions.pointee.createInteger = { task, value in
      let storage = task!.pointee.privdata!.assumingMemoryBound(to: RedisReplyStorage.self)
      let slot = storage.pointee.slot(of: task!)
      storage.pointee.nodes[slot] = RedisReplyNode(kind: .integer, count: 0, value: Int64(value))
      return RedisReplyStorage.object(slot)
    }
    functions.pointee.createNil = { task in
      let storage = task!.pointee.privdata!.assumingMemoryBound(to: RedisReplyStorage.self)
      let slot = storage.pointee.slot(of: task!)
      storage.pointee.nodes[slot] = RedisReplyNode(kind: .nil, count: 0, value: 0)
      return RedisReplyStorage.object(slot)
    }
    // The storage owns everything.
    functions.pointee.freeObject = { _ in }
    return functions
  }()
}

/// A reply. `view` gives access to its elements; the shortcuts are the view's, for replies without elements.
public struct RedisReply: ~Copyable {
  var storage: UnsafeMutablePointer<RedisReplyStorage>

  /// An empty (nil) reply, to be filled by `RedisConnection.nextReply(reusing:)`.
  public init() {
    storage = .allocate(capacity: 1)
    storage.initialize(to: RedisReplyStorage())
    _ = storage.pointee.reserveNodes(1)
  }

  deinit {
    storage.pointee.deallocate()
    storage.deallocate()
  }

  /// Non-owning access to the whole reply: it and every view and byte buffer made from it are valid only while this
  /// reply lives and is not reused. Give the reply a name first: in `try c.command(...).view[0]` it is gone before the
  /// element is looked at.
  public var view: RedisReplyView { RedisReplyView(storage: storage, index: 0) }

  /// The memory it holds.
  public var byteCount: Int {
    storage.pointee.byteCapacity + storage.pointee.nodeCapacity * MemoryLayout<RedisReplyNode>.stride
  }

  public var kind: RedisReplyView.Kind { view.kind }
  public var isNil: Bool { kind == .nil }
  public var integer: Int64? { view.integer }
  public var string: String? { view.string }
  public var bytes: [UInt8]? { view.bytes.map { Array($0) } }
  public var count: Int { view.count }
  public var error: RedisServerError? { view.error }
}

/// One element of a reply, without owning it: see `RedisReply.view`. A copy is two words.
public struct RedisReplyView {
  /// RESP2's types.
  public enum Kind: UInt8, Sendable { case `nil`, integer, string, status, error, array }

  @usableFromInline let storage: UnsafeMutablePointer<RedisReplyStorage>
  @usableFromInline let index: Int

  @usableFromInline
  init(storage: UnsafeMutablePointer<RedisReplyStorage>, index: Int) {
    self.storage = storage
    self.index = index
  }

  @inlinable var node: RedisReplyNode { storage.pointee.nodes[index] }

  @inlinable public var kind: Kind { node.kind }
  @inlinable public var isNil: Bool { kind == .nil }

  /// The number of an integer reply; nil for every other kind.
  @inlinable public var integer: Int64? { kind == .integer ? node.value : nil }

  /// Elements of an array, 0 for every other kind.
  @inlinable public var count: Int { kind == .array ? node.count : 0 }

  /// An element of an array; `position` is in `0..<count`.
  @inlinable
  public subscript(position: Int) -> RedisReplyView {
    let node = node
    precondition(node.kind == .array && position >= 0 && position < node.count, "no such element")
    return RedisReplyView(storage: storage, index: Int(node.value) + position)
  }

  /// The bytes of a string, status or error, in place; nil for every other kind.
  @inlinable
  public var bytes: UnsafeRawBufferPointer? {
    let node = node
    guard node.kind == .string || node.kind == .status || node.kind == .error else { return nil }
    return UnsafeRawBufferPointer(start: storage.pointee.bytes + Int(node.value), count: node.count)
  }

  /// The bytes as UTF-8 text (repaired where they are none); nil for every kind without bytes.
  public var string: String? { bytes.map { String(decoding: $0, as: UTF8.self) } }

  /// The error of an error reply.
  public var error: RedisServerError? { kind == .error ? RedisServerError(line: string ?? "") : nil }
}
