// PushScript: the server-side script that turns a batch of announces into stream entries and snapshots, and the reply it
// gives. Its text is made once from TrafficField's names; a Swift model of it is in the tests. Pure.

import Redis
import Wire

/// The Lua script of `traffic push` (Redis EVALSHA; Lua 5.1, whose numbers are exact to 2^53).
///
/// A publisher's run numbers its records 0, 1, 2, ...; the hash at KEYS[2] remembers which one comes next. A call that is
/// repeated skips what is applied already; a call from beyond the next number changes nothing and says GAP, which is how
/// a publisher learns that a failover rolled Redis back.
///
///     KEYS[1] stream   KEYS[2] state of the run   KEYS[3...] snapshots, one per record
///     ARGV[1] number of the first record   ARGV[2] snapshot TTL, seconds   ARGV[3] longest stream, 0: no limit
///     ARGV[4] 1: credit a first announce   ARGV[5] 1: accept a gap   ARGV[6] bytes of a snapshot key's prefix
///     ARGV[7] most bytes a second in one direction, 0: no limit   ARGV[8] the records, as `PushRecords` packs them
///
/// What a call costs Redis is mostly the number of strings it makes and of commands it runs. So the records come as one
/// argument, numbers that pass through come as their digits, and passkey, infohash and peer id are cut from the key.
///
/// An announce with lower counters is a client that began anew, unless it was made before the one the snapshot is of: two
/// trackers, or a queue that Redis was away from, may deliver out of order. `order`, the time when the announce was
/// answered in ticks since 1970, tells them apart: such a late announce credits nothing and leaves the snapshot alone.
///
/// A snapshot has the contract's fields and `s`, which is all the script reads: integers, little-endian, and no more than
/// the 64 bytes up to which Redis keeps a hash compact (hash-max-listpack-value):
///
///     0 uploaded (7)   7 downloaded (7)   14 order (6)   20 ts (4)
///     24 counters its generation began with: uploaded (7), downloaded (7)   38 generation (8)   46 address and port (6, 18)
///
/// A snapshot without such an `s` is another producer's and begins a generation.
///
/// Every write goes through pcall: a script's earlier writes stay when a later command fails, so the state is saved as far
/// as it got and the error returned. The entry is added before the snapshot is written: a call that dies in between is
/// repeated with the same generation and the same `cu`/`cd`, which the consumer credits once.
enum PushScript {
  /// The arguments besides the keys.
  static let headerArguments = 8
  /// The largest counter that is accepted: Lua's numbers are doubles.
  static let maximumBytes = TrafficEvent.maximumBytes
  /// Microseconds in a tick of `order`: its six bytes last until 2112, and no client announces twice within one.
  static let orderTickMicroseconds: UInt64 = 16
  /// A snapshot's TTL is renewed when its announces cross a multiple of TTL / 8, not at each: it outlives the last
  /// announce by 7/8 of the TTL at least, and most announces save a command.
  static let ttlSteps = 8
  /// A client may report so many seconds' worth of bytes more than the time between its announces allows: clocks of two
  /// trackers differ, and a client that was offline reports late.
  static let rateGraceSeconds = 3600

  /// What the script answers: nine integers and the tails.
  struct Reply: Equatable {
    enum Status: Int64 {
      case done = 0
      case full = 1
      case gap = 2
    }
    var status: Status
    /// The number of the next record that the script expects.
    var next: UInt64
    /// Records that this call applied; those it skipped as applied before are not among them.
    var applied: UInt64 = 0
    var counts = Counts()

    /// Counted since the run began.
    struct Counts: Equatable {
      var resets: UInt64 = 0
      var late: UInt64 = 0
      var tooLarge: UInt64 = 0
      var wrongType: UInt64 = 0
      var implausible: UInt64 = 0
      var unannounced: UInt64 = 0
    }

    init(status: Status, next: UInt64) {
      self.status = status
      self.next = next
    }

    /// Nil when the reply has another shape.
    init?(_ view: RedisReplyView) {
      guard view.count == 10, let first = view[0].integer, let status = Status(rawValue: first) else { return nil }
      func number(_ index: Int) -> UInt64? { view[index].integer.flatMap { UInt64(exactly: $0) } }
      guard let next = number(1), let applied = number(2), let resets = number(3), let late = number(4),
        let tooLarge = number(5), let wrongType = number(6), let implausible = number(7), let unannounced = number(8)
      else { return nil }
      self.status = status
      self.next = next
      self.applied = applied
      counts = Counts(
        resets: resets, late: late, tooLarge: tooLarge, wrongType: wrongType, implausible: implausible,
        unannounced: unannounced)
    }

    /// What the script tells of the records it applied, for `restoreText`; nil when it applied none.
    static func tails(of view: RedisReplyView) -> UnsafeRawBufferPointer? { view[9].bytes }
  }

  /// The expression that gives an entry's field inside the scripts' loops.
  private static func expression(_ field: TrafficField) -> String {
    switch field {
    case .passkey: "passkey"
    case .infoHash: "infohash"
    case .peerID: "peer"
    case .port: "port"
    case .ip: "ip"
    case .addressFamily: "af"
    case .uploadedDelta: "du"
    case .downloadedDelta: "dd"
    case .left: "left"
    case .event: "event"
    case .timestamp: "t"
    case .elapsed: "dt"
    case .interval: "interval"
    case .minInterval: "wait"
    case .version: "'\(TrafficEvent.version)'"
    case .generation: "gen"
    case .creditedUpload: "cu"
    case .creditedDownload: "cd"
    case .announces: "n"
    }
  }

  private static let addEntry =
    "pcall('XADD', stream, '*', "
    + TrafficField.streamOrder.map { "'\($0.name)',\(expression($0))" }.joined(separator: ",") + ")"

  /// Reads one of `PushRecords`; the last value is where the next begins.
  private static let readRecord = """
    local u, d, order, ts, pk, address, port, ip, af, us, ds, left, event, t, interval, wait, n, after =
          unpack('<I7I7I6I4xxxxxxxxBBc0sssssssssss', data, at)
    """

  /// Reads a snapshot's `s` by its length: with an IPv4 or an IPv6 address. Cuts the session out of a key.
  private static let layouts = """
    local layouts = {[52] = '<I7I7I6I4I7I7c8c6', [64] = '<I7I7I6I4I7I7c8c18'}
    local shape, shaped
    local function digits(x)
      if x == 0 then return '0' end
      return format('%d', x)
    end
    """
  private static let cutKey = """
    if pk ~= shaped then shaped, shape = pk, 'c' .. pk .. 'xc40xc40' end
    local passkey, infohash, peer = unpack(shape, key, prefix)
    """

  /// The text for SCRIPT LOAD.
  static let text = """
    local stream, state, data, at = KEYS[1], KEYS[2], ARGV[8], 1
    local from, ttl, prefix, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[6]) + 1, tonumber(ARGV[7])
    local count = #KEYS - 2
    local step = math.max(1, math.floor(ttl / \(ttlSteps)))
    local floor, format, sub, pcall = math.floor, string.format, string.sub, redis.pcall
    local pack, unpack = struct.pack, struct.unpack
    \(layouts)
    local seconds = {[0] = '0'}
    local tails, told = {}, 0
    local type, KEYS = type, KEYS
    local saved = pcall('HMGET', state, 'next', 'resets', 'late', 'large', 'wrong', 'implausible', 'unannounced')
    if saved.err then return saved end
    local function known(i) return tonumber(saved[i]) or 0 end
    local nxt, resets, late, large, wrong = known(1), known(2), known(3), known(4), known(5)
    local implausible, unannounced = known(6), known(7)
    local function answer(status, applied)
      local all = told > 0 and table.concat(tails)
      return {status, nxt, applied, resets, late, large, wrong, implausible, unannounced, all}
    end
    if from > nxt then
      if ARGV[5] ~= '1' then return answer(2, 0) end
      nxt = from
    end
    local start, status, failure = nxt, 0, nil
    local room = count
    if ARGV[3] ~= '0' and nxt < from + count then
      local length = pcall('XLEN', stream)
      if type(length) == 'table' then return length end
      room = tonumber(ARGV[3]) - length
    end
    local function save()
      local r = pcall('HSET', state, 'next', digits(nxt), 'resets', digits(resets), 'late', digits(late),
        'large', digits(large), 'wrong', digits(wrong), 'implausible', digits(implausible),
        'unannounced', digits(unannounced))
      if type(r) == 'table' then return r end
      r = pcall('EXPIRE', state, \(stateSeconds))
      if type(r) == 'table' then return r end
    end
    if not saved[1] then
      failure = save()
      if failure then return failure end
    end
    local function counter(text, limit)
      local x = tonumber(text)
      if x and x >= 0 and x <= limit then return floor(x) end
    end
    for i = 0, count - 1 do
      \(readRecord)
      if from + i >= nxt then
        if room <= 0 then status = 1 break end
        local key = KEYS[i + 3]
        local last = pcall('HGET', key, 's')
        local tail
        if last and last.err then
          if sub(last.err, 1, 9) ~= 'WRONGTYPE' then failure = last break end
          wrong = wrong + 1
        elseif u > \(maximumBytes) or d > \(maximumBytes) then
          large = large + 1
        else
          local lu, ld, lo, lt, bu, bd, gen, place
          local layout = last and layouts[#last]
          if layout then
            lu, ld, lo, lt, bu, bd, gen, place = unpack(layout, last)
          else
            last = pcall('HMGET', key, 'uploaded', 'downloaded', 'ts')
            if last.err then failure = last break end
            lu, ld = counter(last[1], \(maximumBytes)), counter(last[2], \(maximumBytes))
            lt = counter(last[3], \(PushRecords.maximumTimestamp))
          end
          local du, dd, cu, cd, dt, passed = '0', '0', '0', '0', '0', 0
          local fresh, stale, reset, plausible = false, false, false, true
          if not lu or not ld then
            fresh, lt = true, ts
            bu, bd = u, d
            if ARGV[4] == '1' then bu, bd, du, dd, cu, cd = 0, 0, us, ds, us, ds end
            if event ~= 'started' then unannounced = unannounced + 1 end
          else
            lt = lt or ts
            lo = lo or lt * \(1_000_000 / orderTickMicroseconds)
            if ts > lt then
              passed = ts - lt
              dt = seconds[passed]
              if not dt then
                dt = digits(passed)
                seconds[passed] = dt
              end
            end
            if not gen then
              fresh = true
              bu, bd = lu, ld
            end
            if u >= lu and d >= ld then
              if rate > 0 then
                local most = rate * (passed + \(rateGraceSeconds))
                plausible = u - lu <= most and d - ld <= most
              end
              if u > lu then du = format('%d', u - lu) end
              if d > ld then dd = format('%d', d - ld) end
              if bu == 0 then cu = us else cu = digits(u - bu) end
              if bd == 0 then cd = ds else cd = digits(d - bd) end
            elseif order < lo and u <= lu and d <= ld then
              stale = true
              cu, cd = digits(lu - bu), digits(ld - bd)
            else
              fresh, reset = true, true
              bu, bd = u, d
            end
          end
          if not plausible then
            implausible = implausible + 1
          else
            local head, base = sub(data, at, at + 23)
            if fresh then
              gen = sub(data, at + 24, at + 31)
              base = pack('<I7I7', bu, bd) .. gen
            else
              base = sub(last, 25, 46)
            end
            \(cutKey)
            local id = \(addEntry)
            if id.err then failure = id break end
            if fresh or not stale then
              if stale then us, ds, t, head = digits(lu), digits(ld), digits(lt), pack('<I7I7I6I4', lu, ld, lo, lt) end
              if place == address then
                id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds, 'ts', t)
              else
                id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds, 'ts', t,
                  'port', port, 'ip', ip, 'af', af)
              end
              if id ~= 0 and type(id) == 'table' then failure = id break end
            end
            if fresh or floor(ts / step) ~= floor(lt / step) then
              id = pcall('EXPIRE', key, ARGV[2])
              if type(id) == 'table' then failure = id break end
            end
            if reset then resets = resets + 1 end
            if stale then late = late + 1 else tail = base .. du .. '\\0' .. dd .. '\\0' .. dt .. '\\0' end
            room = room - 1
          end
        end
        told = told + 1
        tails[told] = tail or '\(noTail)'
        nxt = nxt + 1
      end
      at = after
    end
    local unsaved = save()
    if failure then return failure end
    if unsaved then return unsaved end
    return answer(status, nxt - start)
    """

  /// The tail of a record that is not to be restored: no generation begins with NUL.
  private static let noTail = String(repeating: "\\0", count: 25)

  /// The script for a Redis that has lost what it had applied: adds the entries again as they were and writes the
  /// snapshots that are missing or older. Repeated it adds entries that the consumer knows, and nothing else.
  ///
  ///     KEYS[1] stream   KEYS[2...] snapshots, one per record
  ///     ARGV[1] snapshot TTL, seconds   ARGV[2] longest stream, 0: no limit   ARGV[3] bytes of a snapshot key's prefix
  ///     ARGV[4] the records   ARGV[5] the tails of the last of them that `text` answered
  ///     ARGV[6] how many records come before those
  ///
  /// Answers the number of entries it added, or -1 when the stream has no room for the records.
  static let restoreText = """
    local stream, data, tails, at, tailAt = KEYS[1], ARGV[4], ARGV[5], 1, 1
    local prefix, limit, skip, count = tonumber(ARGV[3]) + 1, tonumber(ARGV[2]), tonumber(ARGV[6]), #KEYS - 1
    local format, sub, pcall = string.format, string.sub, redis.pcall
    local unpack = struct.unpack
    \(layouts)
    if limit > 0 then
      local length = pcall('XLEN', stream)
      if type(length) == 'table' then return length end
      if length + count > limit then return -1 end
    end
    local added = 0
    for i = 0, count - 1 do
      \(readRecord)
      if i >= skip then
        if tailAt > #tails then break end
        local key, base = KEYS[i + 2], sub(tails, tailAt, tailAt + 21)
        local bu, bd, gen, du, dd, dt, tailAfter = unpack('<I7I7c8sss', tails, tailAt)
        tailAt = tailAfter
        if sub(gen, 1, 1) ~= '\\0' then
          local cu, cd = digits(u - bu), digits(d - bd)
          \(cutKey)
          local id = \(addEntry)
          if type(id) == 'table' then return id end
          added = added + 1
          local last = pcall('HGET', key, 's')
          local older = not last
          if type(last) == 'string' then
            local lu, ld, lo = unpack('<I7I7I6', #last < 20 and ('\\0'):rep(20) or last)
            older = lo < order
          end
          if older then
            id = pcall('HSET', key, 's', sub(data, at, at + 23) .. base .. address, 'uploaded', us, 'downloaded', ds,
              'ts', t, 'port', port, 'ip', ip, 'af', af)
            if type(id) == 'table' then return id end
            id = pcall('EXPIRE', key, ARGV[1])
            if type(id) == 'table' then return id end
          end
        end
      end
      at = after
    end
    return added
    """

  /// How long Redis remembers a run that is silent: a day, as long as snapshots by default. A publisher that was silent
  /// for half of it begins a new run.
  static let stateSeconds = 86_400
}
