-- restore.lua: for a Redis that has lost what it had applied: adds the entries again as they were, writes the snapshots
-- that are missing or older, and has the newer ones know what late announces told of generations before. Repeated it
-- adds entries that the consumer knows, and nothing else. Which giving back it was, and how many records, is kept with
-- the place of the run (`given`): push.lua compares it when it is to go on.
--
--     KEYS[1] stream   KEYS[2] state of the run   KEYS[3...] snapshots, one per record
--     ARGV[1] snapshot TTL, seconds   ARGV[2] longest stream, 0: no limit   ARGV[3] bytes of a snapshot key's prefix
--     ARGV[4] the records   ARGV[5] the tails of the last of them that push.lua answered
--     ARGV[6] how many records come before those   ARGV[7] how many were given back so far, 0: it begins anew
--     ARGV[8] how many of those are the first of these records   ARGV[9] the trackers' clock (clock.lua), in ticks
--     ARGV[10] what the publisher calls this giving back
--
-- Answers how many of its records are given back now, fewer than all when the stream has no room for more, or -1 when
-- other than ARGV[10] and ARGV[7] was given back before: Redis has forgotten again, or did not do the call before. Then
-- the number of entries it added.

local min, max = math.min, math.max

-- The generation that a `p` or a `q` is about, but for its beginning and name.
local function ended(p)
  local known = {unpack('<I6I4I7I7I7I7c8', p, 15)}
  known[8] = #p >= 64 and unpack('<I4', p, 61) or nil
  return known
end

-- What a snapshot's `s`, `p` and `q` know of generations, the newest first. Of each: when it began (0: not known), its
-- last ts and counters, the counters it began with, its name, and its last order in LAST_TICKS or nil.
local function generations(s, p, q)
  local u, d, order, ts, bu, bd, gen = unpack('<I7I7I6I4I7I7c8', s)
  local known = {{0, ts, u, d, bu, bd, gen, math.floor(order / LAST_TICKS)}}
  if not p or sub(p, 1, 8) ~= gen then return known end
  known[1][1] = unpack('<I6', p, 9)
  if #p > 14 then
    known[2] = ended(p)
    if q and sub(q, 1, 8) == known[2][7] then known[3] = ended(q) end
  end
  return known
end

-- Adds what `older` knows to `newer`: counters only grow, and what a generation began with is only ever lowered.
local function join(newer, older)
  local count = #newer
  for i = 1, count do
    local a = newer[i]
    for j = 1, #older do
      local b = older[j]
      if a[7] == b[7] then
        -- The same beginning may be marked since.
        if a[1] - a[1] % 4 == b[1] - b[1] % 4 then
          a[1] = max(a[1], b[1])
        elseif a[1] == 0 or b[1] > 0 and b[1] < a[1] then
          a[1] = b[1]
        end
        a[5], a[6] = min(a[5], b[5]), min(a[6], b[6])
        if i > 1 then
          a[2], a[3], a[4] = max(a[2], b[2]), max(a[3], b[3]), max(a[4], b[4])
          a[8] = a[8] and b[8] and max(a[8], b[8])
        end
        -- What came before the oldest.
        if i == count then for k = j + 1, #older do newer[#newer + 1] = older[k] end end
      end
    end
  end
end

-- The `p` and the `q` of generations, or nil.
local function past(known)
  local function entry(after, g)
    local text = after[7] .. struct.pack('<I6I6I4I7I7I7I7c8', after[1], g[1], g[2], g[3], g[4], g[5], g[6], g[7])
    return g[8] and text .. struct.pack('<I4', g[8]) or text
  end
  local first, second, third = known[1], known[2], known[3]
  if first[1] == 0 then return end
  if not second then return first[7] .. struct.pack('<I6', first[1]) end
  return entry(first, second), third and entry(second, third)
end

-- Has a snapshot know what it was after a late announce, `was`, where it has changed or is gone.
local function recall(key, was, address, port, ip, af)
  local is = pcall('HMGET', key, 's', 'p', 'q')
  if is.err then return end
  local newer, older = is, was
  if not is[1] or #is[1] < 46 then
    newer, older = was, nil
  elseif unpack('<I6', is[1], 15) <= unpack('<I6', was[1], 15) then
    newer, older = was, is
  end
  local known = generations(newer[1], newer[2], newer[3])
  if older then join(known, generations(older[1], older[2], older[3])) end
  local p, q = past(known)
  local first, place = known[1], newer == was and address or sub(newer[1], 47)
  local s = sub(newer[1], 1, 24) .. struct.pack('<I7I7', first[5], first[6]) .. first[7] .. place
  local id = p and pcall('HSET', key, 's', s, 'p', p) or pcall('HSET', key, 's', s)
  if type(id) == 'table' then return id end
  if q then
    id = pcall('HSET', key, 'q', q)
    if type(id) == 'table' then return id end
  end
  if newer == is then return end
  id = pcall('HSET', key, 'uploaded', digits(first[3]), 'downloaded', digits(first[4]), 'ts', digits(first[2]),
    'port', port, 'ip', ip, 'af', af)
  if type(id) == 'table' then return id end
  id = pcall('EXPIRE', key, ARGV[1])
  if type(id) == 'table' then return id end
end

-- Writes the snapshot of an announce where there is none, or an older one. `own` is the name of the generation that it
-- would begin.
local function renew(key, head, base, own, event, address, us, ds, t, port, ip, af)
  local last = pcall('HGET', key, 's')
  if last and type(last) ~= 'string' then return end
  local id, p, q
  if last then
    if #last < 46 then last = ('\0'):rep(46) end
    local lu, ld, lo, lt, pu, pd, before = unpack('<I7I7I6I4I7I7c8', last)
    local bu, bd, gen = unpack('<I7I7c8', base)
    local order = unpack('<I6', head, 15)
    -- A late announce may have lowered the beginning since, or before.
    if before == gen then base = struct.pack('<I7I7', min(bu, pu), min(bd, pd)) .. gen end
    if lo > order then
      if before ~= gen or sub(last, 25, 46) == base then return end
      id = pcall('HSET', key, 's', sub(last, 1, 24) .. base .. sub(last, 47))
      return type(id) == 'table' and id or nil
    end
    -- Only the announce that began the generation knows when that was.
    if before ~= gen and gen == own then
      local began = marked(order, event, order < lo + CLOCK_TOLERANCE)
      p, q = beginning(gen, began, pcall('HGET', key, 'p'), before, lo, lt, lu, ld, pu, pd)
    end
  end
  id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds, 'ts', t, 'port', port,
    'ip', ip, 'af', af)
  if type(id) == 'table' then return id end
  if p then
    id = q and pcall('HSET', key, 'p', p, 'q', q) or pcall('HSET', key, 'p', p)
    if type(id) == 'table' then return id end
  end
  id = pcall('EXPIRE', key, ARGV[1])
  if type(id) == 'table' then return id end
end

local stream, data, tails, at, tailAt = KEYS[1], ARGV[4], ARGV[5], 1, 1
local prefix, limit, skip, count = tonumber(ARGV[3]) + 1, tonumber(ARGV[2]), tonumber(ARGV[6]), #KEYS - 2
local done = tonumber(ARGV[8])
if ARGV[7] ~= '0' then
  local given = pcall('HGET', KEYS[2], 'given')
  if type(given) == 'table' then return given end
  if given ~= ARGV[10] .. ARGV[7] then return {-1, 0} end
end
local room = count
if limit > 0 then
  local length = pcall('XLEN', stream)
  if type(length) == 'table' then return length end
  room = limit - length
end
local added, upto = 0, count
for i = 0, count - 1 do
  -- same in both: a record; the last value is where the next begins
  local u, d, order, ts, pk, address, port, ip, af, us, ds, left, event, t, interval, wait, n, came, after =
    unpack('<I7I7I6I4xxxxxxxxBBc0ssssssssssss', data, at)
  -- end same
  if event == 'gone' then event = 'stopped' end
  if i >= skip then
    if tailAt > #tails then break end
    local key, base = KEYS[i + 3], sub(tails, tailAt, tailAt + 21)
    local bu, bd, gen, du, dd, dt, tailAfter = unpack('<I7I7c8sss', tails, tailAt)
    local isLate, was = sub(du, 1, 1) == 'L', nil
    if isLate then
      du, was = sub(du, 2), {unpack('<Bc0Bc0Bc0', tails, tailAfter)}
      tailAfter = was[4]
    end
    tailAt = tailAfter
    if i >= done and sub(gen, 1, 1) ~= '\0' then
      if added >= room then upto = i break end
      local isAhead = order > latest
      if isAhead then order, came = now, digits(now) end
      local cu, cd = digits(isLate and bu or u - bu), digits(isLate and bd or d - bd)
      -- same in both: the key's parts, and the entry in the order of TrafficField
      if pk ~= shaped then shaped, shape = pk, 'c' .. pk .. 'xc40xc40' end
      local passkey, infohash, peer = unpack(shape, key, prefix)
      local id = pcall('XADD', stream, '*', 'passkey', passkey, 'infohash', infohash, 'peer_id', peer, 'port', port,
        'ip', ip, 'af', af, 'du', du, 'dd', dd, 'left', left, 'event', event, 'ts', t, 'dt', dt,
        'interval', interval, 'min_interval', wait, 'v', VERSION, 'gen', gen, 'cu', cu, 'cd', cd, 'n', n,
        'order', came)
      -- end same
      if type(id) == 'table' then return id end
      added = added + 1
      local failure
      if was then
        failure = recall(key, was, address, port, ip, af)
      else
        local head = isAhead and struct.pack('<I7I7I6I4', u, d, order, ts) or sub(data, at, at + 23)
        failure = renew(key, head, base, sub(data, at + 24, at + 31), event, address, us, ds, t, port, ip,
          af)
      end
      if failure then return failure end
    end
  end
  at = after
end
local kept = pcall('HSET', KEYS[2], 'given', ARGV[10] .. digits(tonumber(ARGV[7]) + upto - done))
if type(kept) == 'table' then return kept end
-- A publisher that dies before Redis is to go on leaves it behind.
kept = pcall('EXPIRE', KEYS[2], STATE_SECONDS)
if type(kept) == 'table' then return kept end
return {upto, added}
