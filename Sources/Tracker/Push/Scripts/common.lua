-- common.lua: the head of both scripts of `traffic push`: PushScript.swift puts it in front of push.lua and
-- restore.lua. Redis runs Lua 5.1, whose numbers are doubles: exact to 2^53.
--
-- What a call costs Redis is mostly the number of strings it makes and of commands it runs. So the records come as
-- one argument, numbers that pass through come as their digits, and passkey, infohash and peer id are cut from the
-- key. For the same reason what both scripts do with a record stands in both, between `same in both` and `end same`,
-- and is no function here; a test compares the two.
--
-- A snapshot is the hash at `<prefix><passkey>:<infohash>:<peer_id>`. Besides `uploaded`, `downloaded`, `port`, `ip`,
-- `af` and `ts` it has `s`, which is all the scripts read: integers, little-endian, and no more than the 64 bytes up
-- to which Redis keeps a hash compact (hash-max-listpack-value):
--
--     0 uploaded (7)   7 downloaded (7)   14 order (6)   20 ts (4)
--     24 counters its generation began with: uploaded (7), downloaded (7)   38 generation (8)
--     46 address and port (6 or 18)
--
-- A snapshot without such an `s` is another producer's and begins a generation. A second field, `p`, says when the
-- generation of `s` began and, after a reset, what was last known of the one before; it is read only when an announce
-- comes late or begins a generation. One that is of another generation than `s` says nothing:
--
--     0 generation (8)   8 order of the announce that began it (6)
--     after a reset, of the generation before: 14 order of its beginning, 0: not known (6)   20 its last ts (4)
--     24 its last counters (7 + 7)   38 the counters it began with (7 + 7)   52 generation (8)
--     60 order of its last, in LAST_TICKS (4); not there: an older version's
--
-- The lowest bits of the order of a beginning say more of it, see `marked`.
--
-- A third field, `q`, is the `p` of the generation before, as it was when that ended, if it knew of one before it.
--
-- A fourth, `d`, is of the last announce whose order was in doubt when it was written: the beginning of its run's
-- names (4), its order (6), and by how much that may be too high (6; not there: an older version's).
--
-- A record is what PushRecords.swift packs, where its layout is.

-- Ticks of `order` in a second: PushRecords.orderTickMicroseconds.
local ORDER_TICKS_PER_SECOND = 62500
-- What is from further in the future has its order from a clock that was wrong, or in another unit.
local FUTURE_TICKS = 600 * ORDER_TICKS_PER_SECOND
-- The time by the trackers' clock (clock.lua). An order above `latest` is none, and `now` is taken for it.
local now = tonumber(ARGV[9])
local latest = now + FUTURE_TICKS
-- Ticks by which the clocks of two trackers may differ: an announce this close to the beginning of a generation, which
-- another run began, may be of that one or of the one before.
local CLOCK_TOLERANCE = 2 * ORDER_TICKS_PER_SECOND
-- A `p` says so roughly when the last announce of the generation before came.
local LAST_TICKS = 65536
-- How long a silent run is remembered: PushScript.stateSeconds.
local STATE_SECONDS = 86400
-- The version of the fields behind the first fourteen: TrafficEvent.version.
local VERSION = '1'

local format, sub, pcall = string.format, string.sub, redis.pcall
local unpack = struct.unpack

-- How a key is cut, and the bytes of the passkey that it is cut for.
local shape, shaped

local function digits(x)
  if x == 0 then return '0' end
  return format('%d', x)
end

-- The order of an announce that begins a generation, no later than it is, with what its two lowest bits say: 1 it was a
-- `started`, 2 another announce, perhaps of another life, was within CLOCK_TOLERANCE of it.
local function marked(order, event, isHasty)
  return math.max(0, order - order % 4 - 4) + (event == 'started' and 1 or 0) + (isHasty and 2 or 0)
end

-- A `p` for the generation `gen`, begun by the announce at `order`, whose predecessor is what `s` and `p` are of; and a
-- `q`, or nil.
local function beginning(gen, order, p, before, lo, lt, lu, ld, bu, bd)
  local began, q = 0, nil
  if type(p) == 'string' and sub(p, 1, 8) == before then
    began = unpack('<I6', p, 9)
    if #p > 14 then q = p end
  end
  local last = math.floor(lo / LAST_TICKS)
  return struct.pack('<c8I6I6I4I7I7I7I7c8I4', gen, order, began, lt, lu, ld, bu, bd, before, last), q
end
