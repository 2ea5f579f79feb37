// PushScript: the server-side script that turns a batch of announces into stream entries and snapshots, and the reply it
// gives. Its text is made once from TrafficField's names; a Swift model of it is in the tests. Pure.

import Shared

/// The Lua script of `traffic push` (Redis EVALSHA; Lua 5.1, whose numbers are exact to 2^53).
///
/// A publisher's run numbers its records 0, 1, 2, ...; the hash at KEYS[2] remembers which one comes next. A call that is
/// repeated skips what is applied already; a call from beyond the next number changes nothing and says GAP, which is how
/// a publisher learns that a failover rolled Redis back.
///
///     KEYS[1] stream   KEYS[2] state of the run   KEYS[3...] snapshots, one per record
///     ARGV[1] number of the first record   ARGV[2] snapshot TTL, seconds   ARGV[3] longest stream, 0: no limit
///     ARGV[4] 1: credit a first announce   ARGV[5] generation of record 0   ARGV[6] 1: accept a gap
///     then `fieldsPerRecord` arguments for each record, in the order of `RecordField`
///
/// An announce with lower counters is a client that began anew, unless it was made before the one the snapshot is of: two
/// trackers, or a queue that Redis was away from, may deliver out of order. `order`, Unix microseconds when the announce was
/// answered, tells them apart: such a late announce credits nothing and leaves the snapshot alone.
///
/// A snapshot has the contract's fields and `s`, which is all the script reads: six big-endian doubles (uploaded,
/// downloaded, ts, order, and the counters its generation began with), sixteen digits of generation, port and IP. Reading one field
/// instead of eight saves a quarter of the call. A snapshot without `s` is another producer's and begins a generation.
///
/// Every write goes through pcall: a script's earlier writes stay when a later command fails, so the state is saved as far
/// as it got and the error returned. The entry is added before the snapshot is written: a call that dies in between is
/// repeated with the same generation and the same `cu`/`cd`, which the consumer credits once.
enum PushScript {
  /// What a record brings to the script.
  enum RecordField: Int, CaseIterable {
    case passkey, infoHash, peerID, port, ip, addressFamily, uploaded, downloaded, left, event, timestamp
    case interval, minInterval, announces, order
  }

  /// The arguments ahead of the first record, and those of each record.
  static let headerArguments = 6
  static let fieldsPerRecord = RecordField.allCases.count
  /// The largest counter that is accepted: Lua's numbers are doubles.
  static let maximumBytes = TrafficEvent.maximumBytes
  /// A snapshot's TTL is renewed when its announces cross a multiple of TTL / 32, not at each: it outlives the last
  /// announce by 31/32 of the TTL at least, and most announces save a command.
  static let ttlSteps = 32

  /// What the script answers: seven integers.
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
    var applied: UInt64
    /// Counted since the run began.
    var resets: UInt64
    var late: UInt64
    var tooLarge: UInt64
    var wrongType: UInt64

    init(
      status: Status, next: UInt64, applied: UInt64 = 0, resets: UInt64 = 0, late: UInt64 = 0, tooLarge: UInt64 = 0,
      wrongType: UInt64 = 0
    ) {
      self.status = status
      self.next = next
      self.applied = applied
      self.resets = resets
      self.late = late
      self.tooLarge = tooLarge
      self.wrongType = wrongType
    }

    /// Nil when the reply has another shape.
    init?(_ view: RedisReplyView) {
      guard view.count == 7, let first = view[0].integer, let status = Status(rawValue: first) else { return nil }
      var numbers: [UInt64] = []
      for index in 1..<7 {
        guard let number = view[index].integer, number >= 0 else { return nil }
        numbers.append(UInt64(number))
      }
      self.init(
        status: status, next: numbers[0], applied: numbers[1], resets: numbers[2], late: numbers[3],
        tooLarge: numbers[4], wrongType: numbers[5])
    }
  }

  /// The expression that gives an entry's field inside the script's loop.
  private static func expression(_ field: TrafficField) -> String {
    func argument(_ field: RecordField) -> String { "ARGV[a+\(field.rawValue)]" }
    return switch field {
    case .passkey: argument(.passkey)
    case .infoHash: argument(.infoHash)
    case .peerID: argument(.peerID)
    case .port: argument(.port)
    case .ip: argument(.ip)
    case .addressFamily: argument(.addressFamily)
    case .uploadedDelta: "dec(du)"
    case .downloadedDelta: "dec(dd)"
    case .left: argument(.left)
    case .event: argument(.event)
    case .timestamp: "t"
    case .elapsed: "dec(dt)"
    case .interval: argument(.interval)
    case .minInterval: argument(.minInterval)
    case .version: "'\(TrafficEvent.version)'"
    case .generation: "gen"
    case .creditedUpload: "dec(cu)"
    case .creditedDownload: "dec(cd)"
    case .announces: argument(.announces)
    }
  }

  /// The text for SCRIPT LOAD.
  static let text: String = {
    func argument(_ field: RecordField) -> String { "ARGV[a+\(field.rawValue)]" }
    let entry = TrafficField.streamOrder.map { "'\($0.name)',\(expression($0))" }.joined(separator: ",")
    return """
      local stream, state = KEYS[1], KEYS[2]
      local from, ttl, base = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[5])
      local count = #KEYS - 2
      local step = math.max(1, math.floor(ttl / \(ttlSteps)))
      local floor, format, sub, pcall = math.floor, string.format, string.sub, redis.pcall
      local pack, unpack = struct.pack, struct.unpack
      local function dec(x)
        if x == 0 then return '0' end
        if x < 1e14 then return x .. '' end
        return format('%.0f', x)
      end
      local function big(s)
        return #s > 16 or (#s == 16 and s > '\(maximumBytes)')
      end
      local saved = pcall('HMGET', state, 'next', 'resets', 'late', 'large', 'wrong')
      if saved.err then return saved end
      local nxt, resets = tonumber(saved[1]) or 0, tonumber(saved[2]) or 0
      local late, large, wrong = tonumber(saved[3]) or 0, tonumber(saved[4]) or 0, tonumber(saved[5]) or 0
      if from > nxt then
        if ARGV[6] ~= '1' then return {2, nxt, 0, resets, late, large, wrong} end
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
        local r = pcall('HSET', state, 'next', format('%.0f', nxt), 'resets', dec(resets), 'late', dec(late),
          'large', dec(large), 'wrong', dec(wrong))
        if type(r) == 'table' then return r end
        r = pcall('EXPIRE', state, \(stateSeconds))
        if type(r) == 'table' then return r end
      end
      if not saved[1] then
        failure = save()
        if failure then return failure end
      end
      while nxt < from + count do
        if room <= 0 then status = 1 break end
        local i = nxt - from
        local a = \(headerArguments + 1) + i * \(fieldsPerRecord)
        local key, us, ds, t = KEYS[i + 3], \(argument(.uploaded)), \(argument(.downloaded)), \(argument(.timestamp))
        local last = pcall('HMGET', key, 's')
        if last.err then
          if string.sub(last.err, 1, 9) ~= 'WRONGTYPE' then failure = last break end
          wrong = wrong + 1
        elseif (#us > 15 and big(us)) or (#ds > 15 and big(ds)) then
          large = large + 1
        else
          local u, d, ts, order = tonumber(us), tonumber(ds), tonumber(t), tonumber(\(argument(.order)))
          local packed, address = last[1], \(argument(.port)) .. ' ' .. \(argument(.ip))
          local lu, ld, lt, lo, bu, bd, gen, known
          if packed then
            lu, ld, lt, lo, bu, bd = unpack('>dddddd', packed)
            gen, known = sub(packed, 49, 64), sub(packed, 65) == address
          else
            last = pcall('HMGET', key, 'uploaded', 'downloaded', 'ts')
            if last.err then failure = last break end
            lu, ld, lt = tonumber(last[1]), tonumber(last[2]), tonumber(last[3])
          end
          local du, dd, cu, cd, dt = 0, 0, 0, 0, 0
          local fresh, stale, reset = false, false, false
          if not lu or not ld then
            fresh, lt = true, ts
            bu, bd = u, d
            if ARGV[4] == '1' then bu, bd, du, dd, cu, cd = 0, 0, u, d, u, d end
          else
            if not lt then lt = ts end
            if not lo then lo = lt * 1000000 end
            if ts > lt then dt = ts - lt end
            if not gen then
              fresh = true
              bu, bd = lu, ld
            end
            if u >= lu and d >= ld then
              du, dd, cu, cd = u - lu, d - ld, u - bu, d - bd
            elseif order < lo and u <= lu and d <= ld then
              stale = true
              cu, cd = lu - bu, ld - bd
            else
              fresh, reset = true, true
              bu, bd = u, d
            end
          end
          if fresh then gen = format('%.0f', base + nxt) end
          local id = pcall('XADD', stream, '*', \(entry))
          if type(id) == 'table' then failure = id break end
          if fresh or not stale then
            if stale then us, ds, t, u, d, ts, order = dec(lu), dec(ld), dec(lt), lu, ld, lt, lo end
            packed = pack('>dddddd', u, d, ts, order, bu, bd) .. gen .. address
            if known then
              id = pcall('HSET', key, 'uploaded', us, 'downloaded', ds, 'ts', t, 's', packed)
            else
              id = pcall('HSET', key, 'uploaded', us, 'downloaded', ds, 'ts', t, 's', packed,
                'port', \(argument(.port)), 'ip', \(argument(.ip)), 'af', \(argument(.addressFamily)))
            end
            if type(id) == 'table' then failure = id break end
          end
          if fresh or floor(ts / step) ~= floor(lt / step) then
            id = pcall('EXPIRE', key, ARGV[2])
            if type(id) == 'table' then failure = id break end
          end
          if reset then resets = resets + 1 end
          if stale then late = late + 1 end
          room = room - 1
        end
        nxt = nxt + 1
      end
      local unsaved = save()
      if failure then return failure end
      if unsaved then return unsaved end
      return {status, nxt, nxt - start, resets, late, large, wrong}
      """
  }()

  /// How long Redis remembers a run that is silent: a day, as long as snapshots by default. A publisher that was silent
  /// for half of it begins a new run.
  static let stateSeconds = 86_400
}
