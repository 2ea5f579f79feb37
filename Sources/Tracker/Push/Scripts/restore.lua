-- restore.lua: for a Redis that has lost what it had applied: adds the entries again as they were and writes the
-- snapshots that are missing or older. Repeated it adds entries that the consumer knows, and nothing else. Which giving
-- back it was, and how many records, is kept with the place of the run (`given`): push.lua compares it when it is to go
-- on.
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
  if i >= skip then
    if tailAt > #tails then break end
    local key, base = KEYS[i + 3], sub(tails, tailAt, tailAt + 21)
    local bu, bd, gen, du, dd, dt, tailAfter = unpack('<I7I7c8sss', tails, tailAt)
    tailAt = tailAfter
    if i >= done and sub(gen, 1, 1) ~= '\0' then
      if added >= room then upto = i break end
      local isAhead = order > latest
      if isAhead then order, came = now, digits(now) end
      local isLate = sub(du, 1, 1) == 'L'
      local cu, cd = digits(isLate and bu or u - bu), digits(isLate and bd or d - bd)
      if isLate then du = sub(du, 2) end
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
      -- A late announce said nothing about the snapshot's counters.
      local last = not isLate and pcall('HGET', key, 's')
      local older = not isLate and not last
      local p, q
      if type(last) == 'string' then
        if #last < 46 then last = ('\0'):rep(46) end
        local lu, ld, lo, lt, pu, pd, before = unpack('<I7I7I6I4I7I7c8', last)
        older = lo <= order
        -- Only the announce that began the generation knows when that was.
        if older and before ~= gen and gen == sub(data, at + 24, at + 31) then
          p, q = beginning(gen, order, pcall('HGET', key, 'p'), before, lt, lu, ld, pu, pd)
        end
      end
      if older then
        local head = isAhead and struct.pack('<I7I7I6I4', u, d, order, ts) or sub(data, at, at + 23)
        id = pcall('HSET', key, 's', head .. base .. address, 'uploaded', us, 'downloaded', ds,
          'ts', t, 'port', port, 'ip', ip, 'af', af)
        if type(id) == 'table' then return id end
        if p then
          id = q and pcall('HSET', key, 'p', p, 'q', q) or pcall('HSET', key, 'p', p)
          if type(id) == 'table' then return id end
        end
        id = pcall('EXPIRE', key, ARGV[1])
        if type(id) == 'table' then return id end
      end
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
