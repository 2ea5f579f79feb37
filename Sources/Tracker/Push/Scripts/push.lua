-- push.lua: turns a batch of announces into stream entries and snapshots.
--
-- A publisher's run numbers its records 0, 1, 2, ...; the hash at KEYS[2] remembers which one comes next. A call that
-- is repeated skips what is applied already; a call from beyond the next number changes nothing and says GAP, which
-- is how a publisher learns that a failover rolled Redis back.
--
--     KEYS[1] stream   KEYS[2] state of the run   KEYS[3...] snapshots, one per record
--     ARGV[1] number of the first record   ARGV[2] snapshot TTL, seconds   ARGV[3] longest stream, 0: no limit
--     ARGV[4] 1: credit a first announce   ARGV[5] `-`, or from where a gap is accepted
--     ARGV[6] bytes of a snapshot key's prefix
--     ARGV[7] most bytes a second in one direction, 0: no limit   ARGV[8] the records
--     ARGV[9] the trackers' clock (clock.lua), in ticks   ARGV[10] what it is ahead of the clock that `ts` is of
--     ARGV[11] since when Redis has forgotten nothing, by the trackers' clock
--     ARGV[12] what TIME may be, microseconds: from a caller whose clock stood still nothing is taken until it knows
--     ARGV[13] announces with a lower order may have come before any that is ARGV[14] older, in ticks
--
-- A gap is accepted from one place only: the number that Redis expects, `:`, and the name of what restore.lua has given
-- back, or `*` from who has given nothing back: another process may have, and have ended. It stays what was given back
-- last, whatever gap is accepted: more than one may be stepped over. When anything was forgotten since the publisher
-- asked, or since it gave back, the answer is GAP again.
--
-- Answers twelve values: status (0 done, 1 FULL, 2 GAP, 3 TIME is beyond what the caller expects); the number of the
-- next record; records that this call applied; counted since the run began: resets, late announces, counters too
-- large, snapshot keys of another type, implausible counters, unannounced sessions, late announces of a generation
-- that is not known; Redis' time, microseconds, -1 where the ACL has none; the tails, or nil.
--
-- An announce with lower counters is a client that began anew, unless it was made before the one the snapshot is of:
-- two trackers, or a queue that Redis was away from, may deliver out of order. `order`, the time when the announce
-- came in ticks since 1970, tells them apart; `judge` says what a late one is worth.
--
-- Every write goes through pcall: a script's earlier writes stay when a later command fails, so the state is saved as
-- far as it got and the error returned. The entry is added before the snapshot is written: a call that dies in
-- between is repeated with the same generation and the same `cu`/`cd`, which the consumer credits once.

-- The largest counter that is accepted: TrafficEvent.maximumBytes.
local MAXIMUM_BYTES = 9007199254740992
-- The largest timestamp: PushRecords.maximumTimestamp.
local MAXIMUM_TIMESTAMP = 4294967295
-- A snapshot's TTL is renewed when its announces cross a multiple of this part of it, not at each: it outlives the
-- last announce by 7/8 of the TTL at least, and most announces save a command.
local TTL_STEPS = 8
-- A client may report this many seconds' worth of bytes more than the time between its announces allows: clocks of two
-- trackers differ, and a client that was offline reports late.
local RATE_GRACE_SECONDS = 3600
-- The tail of a record that is not to be restored: no generation begins with NUL.
local NO_TAIL = ('\0'):rep(25)
-- Ticks by which two orders may be wrong although both publishers have asked Redis for the time. No client announces,
-- starts over and announces again within this: the higher counters are the later ones.
local CLOCK_ERROR = ORDER_TICKS_PER_SECOND / 20
-- As many characters of a generation's name are the same for all of a run, but for a carry in sixteen million.
local RUN_CHARACTERS = 4

local stream, state, data, at = KEYS[1], KEYS[2], ARGV[8], 1
local from, ttl, prefix, rate = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[6]) + 1, tonumber(ARGV[7])
local count = #KEYS - 2
local step = math.max(1, math.floor(ttl / TTL_STEPS))
local floor, pack = math.floor, struct.pack
-- A snapshot's `s` by its length: with an IPv4 or an IPv6 address.
local layouts = {[52] = '<I7I7I6I4I7I7c8c6', [64] = '<I7I7I6I4I7I7c8c18'}
local seconds = {[0] = '0'}
-- A tail is what restore.lua needs besides the record: counters its generation began with, generation, du, dd, dt. That
-- of a late announce that credits something has `L` before du, cu and cd in place of the first two, and at its end the
-- snapshot as it was then: `s`, `p` and `q`, each behind its length.
local tails, told = {}, 0
local type, KEYS = type, KEYS

local saved = pcall('HMGET', state, 'next', 'resets', 'late', 'large', 'wrong', 'implausible', 'unannounced',
  'unknown', 'given')
if saved.err then return saved end
local function known(i) return tonumber(saved[i]) or 0 end
local nxt, resets, late, large, wrong = known(1), known(2), known(3), known(4), known(5)
local implausible, unannounced, unknown = known(6), known(7), known(8)

local time = pcall('TIME')
local clock = time.err and -1 or tonumber(time[1]) * 1000000 + tonumber(time[2])
local function answer(status, applied)
  local all = told > 0 and table.concat(tails)
  return {status, nxt, applied, resets, late, large, wrong, implausible, unannounced, unknown, clock, all}
end

local here = ARGV[5] ~= '-' and digits(nxt) .. ':'
if here and (ARGV[5] == here .. (saved[9] or '-') or ARGV[5] == here .. '*') then
  nxt = math.max(nxt, from)
elseif from > nxt then
  return answer(2, 0)
elseif count == 0 and saved[1] then
  return answer(0, 0)
end
if count > 0 and clock > tonumber(ARGV[12]) then return answer(3, 0) end
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
    'unannounced', digits(unannounced), 'unknown', digits(unknown))
  if type(r) == 'table' then return r end
  r = pcall('EXPIRE', state, STATE_SECONDS)
  if type(r) == 'table' then return r end
end
if not saved[1] then
  failure = save()
  if failure then return failure end
end

-- A counter of a snapshot that another producer wrote; nil when it is none.
local function counter(text, limit)
  local x = tonumber(text)
  if x and x >= 0 and x <= limit then return floor(x) end
end


-- Whether Redis knows of all announces that were made after `order` and applied: no snapshot has expired, and nothing
-- was forgotten. Only then does an announce that nothing is known to come before credit no byte twice.
local function remembers(order)
  local lived = (ttl - step) * ORDER_TICKS_PER_SECOND
  return order >= math.max(tonumber(ARGV[11]), now - lived)
end

-- Whether counters may be of a generation that began with `bu`, `bd` and was last at `lu`, `ld`: they only grow.
local function fits(u, d, bu, bd, lu, ld)
  return u >= bu and d >= bd and (u >= lu and d >= ld or u <= lu and d <= ld)
end

local function isNear(order, began) return order >= began - CLOCK_TOLERANCE and order < began + CLOCK_TOLERANCE end

-- Whether an announce may be of a life that began, or ended, beside the beginning of a generation: nobody can tell them
-- apart.
local function isBeside(order, began) return began % 4 >= 2 and isNear(order, began) end

-- Whether a `started` may be of a life of which nothing is known: it is not the beginning, told once more.
local function isUntold(event, u, d, order, began, bu, bd)
  return event == 'started' and (u ~= bu or d ~= bd or not isNear(order, began))
end

-- The end of a `p` or `q` when an announce at `order` is added to what it is about.
local function lastOf(p, order)
  return #p < 64 and '' or pack('<I4', math.max(unpack('<I4', p, 61), floor(order / LAST_TICKS)))
end

-- What an announce is worth that was made before the generation before: see `judge`.
local function judgeOlder(p, q, event, u, d, order, ts)
  local pbegan, pts, pu, pd, pbu, pbd, pgen = unpack('<I6I4I7I7I7I7c8', p, 15)
  if order >= pbegan - CLOCK_TOLERANCE then return 'unknown' end
  if type(q) ~= 'string' or sub(q, 1, 8) ~= pgen then
    -- Nothing is known to come before `pgen`.
    if u > pbu or d > pbd or not remembers(order) then return 'unknown' end
    if pbegan % 2 == 1 and (u < pbu or d < pbd) then unknown = unknown + 1 end
    p = sub(p, 1, 14) .. pack('<I6', marked(order, event)) .. sub(p, 21, 38) .. pack('<I7I7', u, d) .. sub(p, 53)
    return 'before', pbu - u, pbd - d, pu - u, pd - d, pack('<I7I7', u, d) .. pgen, pts, p
  end
  local began, lt, lu, ld, bu, bd, gen = unpack('<I6I4I7I7I7I7c8', q, 15)
  if order < began - CLOCK_TOLERANCE or not fits(u, d, bu, bd, lu, ld) then return 'unknown' end
  if u <= lu and d <= ld then
    return (isUntold(event, u, d, order, began, bu, bd) or isBeside(order, began)) and 'unknown' or 'stale'
  end
  if began == 0 or order < began + CLOCK_TOLERANCE then return 'unknown' end
  q = sub(q, 1, 20) .. pack('<I4I7I7I7I7', math.max(ts, lt), u, d, bu, bd) .. gen .. lastOf(q, order)
  return 'older', u - lu, d - ld, u - bu, d - bd, pack('<I7I7', bu, bd) .. gen, lt, q
end

-- Whether another run's announce, whose order is in doubt, may have come before one of this order: `d` has that order,
-- and by how much it may be too high.
local function isDoubted(d, own, order)
  if type(d) ~= 'string' or #d < RUN_CHARACTERS + 12 or sub(d, 1, RUN_CHARACTERS) == sub(own, 1, RUN_CHARACTERS) then
    return false
  end
  local highest, by = unpack('<I6I6', d, RUN_CHARACTERS + 1)
  return order <= highest and order >= highest - by
end

-- What an announce is worth that was made before the one that the snapshot is of (its order is lower by `behind`, or by
-- so little higher that clocks may be wrong): `gen`, `lu` and so on are the snapshot's, `own` is the name of the
-- generation that the announce would begin. Answers nil, when it is an ordinary one after all, or one of
--     'stale'    what it says was credited with a later one: nothing
--     'unknown'  of a generation that is not known, or of either of two: nothing, lest bytes are credited twice
--     'before'   of the generation before, or its first: bytes credited, in it so far, its base and name, its last ts,
--                the new `p`
--     'older'    of the generation before that: the same, with the new `q`
--     'lower'    the beginning of the generation, which was begun with a later one: the same seven. Should the client
--                have started over in between, it moved no less than that
local function judge(key, own, event, u, d, order, ts, gen, lu, ld, lt, bu, bd, behind)
  local isOfRun = gen and sub(own, 1, RUN_CHARACTERS) == sub(gen, 1, RUN_CHARACTERS)
  local addsNew = u >= lu and d >= ld
  if behind <= 0 and (isOfRun or not gen) then return end
  local isSame, isBase = u == lu and d == ld, u == bu and d == bd
  if not gen or isSame and behind <= CLOCK_ERROR then return 'stale' end
  if addsNew and not isOfRun and behind <= CLOCK_ERROR then return end
  local past = pcall('HMGET', key, 'p', 'q', 'd')
  local p, q = past[1], past[2]
  if isDoubted(past[3], own, order) then return isSame and 'stale' or 'unknown' end
  if type(p) ~= 'string' or sub(p, 1, 8) ~= gen then
    -- When the generation began is not known: an older version's, or given back. That was before Redis forgot.
    local isOf = order >= tonumber(ARGV[11]) and u >= bu and d >= bd and u <= lu and d <= ld
    return isOf and event ~= 'started' and 'stale' or 'unknown'
  end
  local tolerance = isOfRun and 0 or CLOCK_TOLERANCE
  local began = unpack('<I6', p, 9)
  -- Whether it may be of this generation, or of the one before, and whether it would add to that.
  local isNew = order >= began - tolerance and fits(u, d, bu, bd, lu, ld)
  local isOld, addsOld = order < began + tolerance, true
  local pbegan, pts, pu, pd, pbu, pbd, pgen
  if #p > 14 then
    pbegan, pts, pu, pd, pbu, pbd, pgen = unpack('<I6I4I7I7I7I7c8', p, 15)
    isOld = isOld and order >= pbegan - tolerance and fits(u, d, pbu, pbd, pu, pd)
    addsOld = u >= pu and d >= pd and (u > pu or d > pd)
  end
  -- Nothing is known to come before this generation, nor between it and the announce.
  local isFirst = not pgen and order < began - tolerance and remembers(order)
  local isAfter = not pgen or #p < 64 and ts > pts or #p >= 64 and floor(order / LAST_TICKS) > unpack('<I4', p, 61)
  -- A client that said `started` in the middle of a generation had started over, and nothing showed it: what came late
  -- of the time before it may be of another life. Or it only said it again.
  local isBesideThis = isBeside(order, began)
  local isRestart = event == 'started' and (
    order >= began + CLOCK_TOLERANCE and (lu > bu or ld > bd) or order < began - CLOCK_TOLERANCE and began % 2 == 1)
  if isSame and order >= began - tolerance then return 'stale' end
  if isBase and isAfter and not isFirst then return (isRestart or isBesideThis) and 'unknown' or 'stale' end
  if (event == 'started' or not pgen) and u <= bu and d <= bd and isAfter and not isBase then
    if order < began - tolerance and remembers(order) then
      -- What began with a `started` may be of another life than this.
      if began % 2 == 1 then unknown = unknown + 1 end
      p = gen .. pack('<I6', marked(order, event)) .. sub(p, 15)
      return 'lower', bu - u, bd - d, lu - u, ld - d, pack('<I7I7', u, d) .. gen, lt, p
    end
  end
  if isNew then
    if addsNew and order >= began + tolerance then
      -- Counters grow with time: a clock is wrong, or the client started over in between and nothing showed it. The
      -- difference was moved either way; in the second case more was, and is lost.
      unknown = unknown + 1
      return
    end
    isRestart = event == 'started' and not isBase
    -- Counters were higher before the generation began than then.
    local isOther = order < began - CLOCK_ERROR and not (u <= bu and d <= bd)
    return (addsNew or isRestart or isOther or isBesideThis or isOld and addsOld and pgen) and 'unknown' or 'stale'
  end
  if not isOld and behind <= 0 then return end
  if isFirst and (isBase or u > bu or d > bd) then
    -- The first that is known of the counters before, as a first announce is; or of these, which were no higher then.
    p = gen .. pack('<I6I6I4I7I7I7I7', began, marked(order, event), ts, u, d, u, d) .. own ..
      pack('<I4', floor(order / LAST_TICKS))
    return 'before', 0, 0, 0, 0, pack('<I7I7', u, d) .. own, ts, p
  end
  if not pgen then return 'unknown' end
  if not isOld then return judgeOlder(p, q, event, u, d, order, ts) end
  if not addsOld then
    local isKnown = not isUntold(event, u, d, order, pbegan, pbu, pbd) and not isBeside(order, pbegan)
    return isKnown and not isBesideThis and 'stale' or 'unknown'
  end
  if pbegan == 0 or order < pbegan + tolerance then return 'unknown' end
  p = sub(p, 1, 20) .. pack('<I4I7I7I7I7', math.max(ts, pts), u, d, pbu, pbd) .. pgen .. lastOf(p, order)
  return 'before', u - pu, d - pd, u - pbu, d - pbd, pack('<I7I7', pbu, pbd) .. pgen, pts, p
end

-- Whether an announce of a time that is not known may be of a life before that of the snapshot.
local function isOfAnother(key, own, gen)
  if not gen or sub(own, 1, RUN_CHARACTERS) == sub(gen, 1, RUN_CHARACTERS) then return false end
  local p = pcall('HGET', key, 'p')
  return type(p) ~= 'string' or sub(p, 1, 8) ~= gen or #p > 14
end

-- The first announce that tells of anything moved in a generation, or another `started`, so soon after its beginning
-- that this is to be marked: the new `p`; else nil.
local function hurried(key, event, u, d, order, gen, lu, ld, lo, bu, bd)
  if lu ~= bu or ld ~= bd or u < bu or d < bd then return end
  if u == bu and d == bd and (event ~= 'started' or order < lo + CLOCK_ERROR) then return end
  local p = pcall('HGET', key, 'p')
  if type(p) ~= 'string' or sub(p, 1, 8) ~= gen then return end
  local began = unpack('<I6', p, 9)
  if began % 4 >= 2 or order >= began + CLOCK_TOLERANCE then return end
  return sub(p, 1, 8) .. pack('<I6', began + 2) .. sub(p, 15)
end

-- What a snapshot's `d` begins with that this run wrote last, with this order, which is in doubt.
local function ownMark(own, order) return sub(own, 1, RUN_CHARACTERS) .. pack('<I6', order) end

-- Whether this run wrote it.
local function isOwnMark(d, own, order) return d and sub(d, 1, RUN_CHARACTERS + 6) == ownMark(own, order) end

local doubted, doubt = tonumber(ARGV[13]), tonumber(ARGV[14])
for i = 0, count - 1 do
  -- same in both: a record; the last value is where the next begins
  local u, d, order, ts, pk, address, port, ip, af, us, ds, left, event, t, interval, wait, n, came, after =
    unpack('<I7I7I6I4xxxxxxxxBBc0ssssssssssss', data, at)
  -- end same
  local isGone = event == 'gone'
  if isGone then event = 'stopped' end
  if from + i >= nxt then
    if room <= 0 then status = 1 break end
    local key = KEYS[i + 3]
    local last = pcall('HGET', key, 's')
    local tail
    local isAhead = order > latest
    if isAhead then order, came = now, digits(now) end
    if last and last.err then
      if sub(last.err, 1, 9) ~= 'WRONGTYPE' then failure = last break end
      wrong = wrong + 1
    elseif u > MAXIMUM_BYTES or d > MAXIMUM_BYTES then
      large = large + 1
    else
      -- The snapshot: counters, order and time of the last announce; what its generation began with, and its name.
      local lu, ld, lo, lt, bu, bd, gen, place
      local layout = last and layouts[#last]
      if layout then
        lu, ld, lo, lt, bu, bd, gen, place = unpack(layout, last)
      else
        last = pcall('HMGET', key, 'uploaded', 'downloaded', 'ts')
        if last.err then failure = last break end
        lu, ld = counter(last[1], MAXIMUM_BYTES), counter(last[2], MAXIMUM_BYTES)
        lt = counter(last[3], MAXIMUM_TIMESTAMP)
      end
      -- The entry: deltas, bytes credited in this generation, seconds since the last announce.
      local du, dd, cu, cd, dt, passed = '0', '0', '0', '0', '0', 0
      local fresh, reset, parted, plausible = false, false, false, true
      -- Of a late announce: see `judge`. Of one that begins a generation after another: what that one began with.
      local verdict, gu, gd, tu, td, base, since, p, q
      local obu, obd, isHasty
      if not lu or not ld then
        fresh, lt = true, ts
        bu, bd = u, d
        if ARGV[4] == '1' then bu, bd, du, dd, cu, cd = 0, 0, us, ds, us, ds end
        if event ~= 'started' then unannounced = unannounced + 1 end
      else
        lt = lt or ts
        lo = lo or lt * ORDER_TICKS_PER_SECOND + tonumber(ARGV[10])
        if ts > lt then
          passed = ts - lt
          dt = seconds[passed]
          if not dt then
            dt = digits(passed)
            seconds[passed] = dt
          end
        end
        if order < doubted and order - doubt <= lo and
          (order < lo or not isOwnMark(pcall('HGET', key, 'd'), sub(data, at + 24, at + 31), lo)) then
          -- Before the snapshot's or after it.
          verdict = u == lu and d == ld and 'stale' or 'unknown'
        elseif order < lo + CLOCK_TOLERANCE and lo <= latest then
          if order < lo + CLOCK_ERROR and (order < lo or u < lu or d < ld) then
            verdict, gu, gd, tu, td, base, since, p = judge(
              key, sub(data, at + 24, at + 31), event, u, d, order, ts, gen, lu, ld, lt, bu, bd, lo - order)
            -- Perhaps the client did start over so quickly, and is not credited what follows up to its next announce.
            if verdict == 'stale' and order >= lo then verdict = 'unknown' end
          end
          isHasty = true
          if not verdict and gen then p = hurried(key, event, u, d, order, gen, lu, ld, lo, bu, bd) end
        end
        -- A tracker ended before it knew the time: whether the client started over, or this comes late, is not known.
        if isAhead and not verdict and (u < lu or d < ld or (u > lu or d > ld) and
          isOfAnother(key, sub(data, at + 24, at + 31), gen)) then verdict = 'unknown' end
        if verdict then
          if gu then
            passed = math.max(0, ts - since)
            plausible = rate == 0 or math.max(gu, gd) <= rate * (math.abs(ts - since) + RATE_GRACE_SECONDS)
            du, dd, cu, cd, dt = digits(gu), digits(gd), digits(tu), digits(td), digits(passed)
          elseif gen then
            cu, cd = digits(lu - bu), digits(ld - bd)
          else
            bu, bd = u, d
          end
        elseif u >= lu and d >= ld then
          if not gen then
            fresh = true
            bu, bd = lu, ld
          elseif u == 0 and d == 0 and event == 'started' and order >= lo + CLOCK_TOLERANCE then
            -- It may have started over after it had moved something, of which nothing is known yet.
            fresh, parted, obu, obd = true, true, 0, 0
          end
          if rate > 0 then
            local most = rate * (passed + RATE_GRACE_SECONDS)
            plausible = u - lu <= most and d - ld <= most
          end
          if u > lu then du = format('%d', u - lu) end
          if d > ld then dd = format('%d', d - ld) end
          if bu == 0 then cu = us else cu = digits(u - bu) end
          if bd == 0 then cd = ds else cd = digits(d - bd) end
        else
          fresh, reset = true, true
          obu, obd, bu, bd = bu, bd, u, d
        end
      end
      if not plausible then
        implausible = implausible + 1
      elseif not isGone or lu and ld then
        -- Nobody knows a session that is gone and has no snapshot. Kept, it would be one that ends again with more.
        local head, before = isAhead and pack('<I7I7I6I4', u, d, order, ts) or sub(data, at, at + 23), gen
        if base then
          gen = sub(base, 15)
        elseif gen and not fresh then
          base = sub(last, 25, 46)
        else
          gen = sub(data, at + 24, at + 31)
          base = pack('<I7I7', bu, bd) .. gen
        end
        -- same in both: the key's parts, and the entry in the order of TrafficField
        if pk ~= shaped then shaped, shape = pk, 'c' .. pk .. 'xc40xc40' end
        local passkey, infohash, peer = unpack(shape, key, prefix)
        local id = pcall('XADD', stream, '*', 'passkey', passkey, 'infohash', infohash, 'peer_id', peer, 'port', port,
          'ip', ip, 'af', af, 'du', du, 'dd', dd, 'left', left, 'event', event, 'ts', t, 'dt', dt,
          'interval', interval, 'min_interval', wait, 'v', VERSION, 'gen', gen, 'cu', cu, 'cd', cd, 'n', n,
          'order', came)
        -- end same
        if id.err then failure = id break end
        if verdict then
          late = late + 1
          if verdict == 'unknown' then unknown = unknown + 1 end
          if gu then
            if verdict == 'lower' then
              id = pcall('HSET', key, 's', sub(last, 1, 24) .. base .. place, 'p', p)
            else
              id = pcall('HSET', key, verdict == 'older' and 'q' or 'p', p)
            end
            if type(id) == 'table' then failure = id break end
            local is = pcall('HMGET', key, 's', 'p', 'q')
            if is.err then failure = is break end
            tail = pack('<I7I7', tu, td) .. gen .. 'L' .. du .. '\0' .. dd .. '\0' .. dt .. '\0'
            for k = 1, 3 do
              local text = is[k] or ''
              tail = tail .. pack('<Bc0', #text, text)
            end
          end
        else
          if (reset or parted) and before then
            local began = marked(order, event, isHasty)
            p, q = beginning(gen, began, pcall('HGET', key, 'p'), before, lo, lt, lu, ld, obu, obd)
          elseif fresh and (reset or not lu) and not isAhead then
            p = gen .. pack('<I6', marked(order, event, isHasty))
          end
          if q then
            -- Of a call that dies here it is of no generation that `p` knows.
            id = pcall('HSET', key, 'q', q)
            if type(id) == 'table' then failure = id break end
          end
          if p then
            id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds, 'ts', t,
              'port', port, 'ip', ip, 'af', af, 'p', p)
          elseif place == address then
            id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds, 'ts', t)
          else
            id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds, 'ts', t,
              'port', port, 'ip', ip, 'af', af)
          end
          if type(id) == 'table' then failure = id break end
          if order < doubted then
            -- Of a call that dies here it is in doubt.
            id = pcall('HSET', key, 'd', ownMark(sub(data, at + 24, at + 31), order) .. pack('<I6', doubt))
            if type(id) == 'table' then failure = id break end
          end
          if fresh or floor(ts / step) ~= floor(lt / step) then
            id = pcall('EXPIRE', key, ARGV[2])
            if type(id) == 'table' then failure = id break end
          end
          if reset then resets = resets + 1 end
          tail = base .. du .. '\0' .. dd .. '\0' .. dt .. '\0'
        end
        room = room - 1
      end
    end
    told = told + 1
    tails[told] = tail or NO_TAIL
    nxt = nxt + 1
  end
  at = after
end
local unsaved = save()
if failure then return failure end
if unsaved then return unsaved end
return answer(status, nxt - start)
