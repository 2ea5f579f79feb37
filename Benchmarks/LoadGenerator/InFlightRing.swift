// InFlightRing: the requests that wait for a reply, by transaction id; memory is taken once. Used by UDPLoad.

/// One request.
struct InFlight {
  var sentNanoseconds: UInt64 = 0
  /// 0: the place is free.
  var transactionID: UInt32 = 0
  /// The announcing peer.
  var peer: UInt32 = 0
  var socket: UInt32 = 0
  var isScrape = false
}

/// Transaction ids are given in order, so the id's low bits are the place.
struct InFlightRing: ~Copyable {
  let capacity: Int
  private let entries: UnsafeMutablePointer<InFlight>
  private var nextID: UInt32 = 1

  /// `capacity` is a power of two.
  init(capacity: Int) {
    self.capacity = capacity
    entries = .allocate(capacity: capacity)
    entries.initialize(repeating: InFlight(), count: capacity)
  }

  deinit { entries.deallocate() }

  subscript(index: Int) -> InFlight { entries[index] }

  /// The entry that the next transaction id would take the place of.
  var oldest: InFlight { entries[Int(nextID) & (capacity - 1)] }

  /// Puts a request in and gives it its transaction id.
  @inline(__always)
  mutating func add(_ request: InFlight) -> UInt32 {
    let id = nextID
    let place = Int(id) & (capacity - 1)
    entries[place] = request
    entries[place].transactionID = id
    nextID = id == UInt32.max ? 1 : id + 1
    return id
  }

  /// Takes the request out that a reply belongs to; nil when none waits for it.
  @inline(__always)
  mutating func remove(_ transactionID: UInt32) -> InFlight? {
    let place = Int(transactionID) & (capacity - 1)
    guard entries[place].transactionID == transactionID, transactionID != 0 else { return nil }
    let request = entries[place]
    entries[place].transactionID = 0
    return request
  }
}
