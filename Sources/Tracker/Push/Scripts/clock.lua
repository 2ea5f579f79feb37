-- clock.lua: the clock that the trackers of a stream have in common: Redis' own, plus a shift that Redis keeps. Orders
-- of announces are compared by it, so it may not step: when Redis' clock is set, or another Redis takes over, a tracker
-- notices that this clock is not where its own says that it should be, and sets the shift.
--
--     KEYS[1] the hash with microseconds: `shift`, what is added to TIME; `top`, the highest reading that a tracker
--     took; `since`, from when on Redis has forgotten nothing; `changed`, when a tracker last set the shift;
--     `taken`, the last reading of a caller that did not know the clock
--     KEYS[2] no key, but while this runs; only from who was told that it is needed: while Redis Cluster moves the
--     slot, a call that names a key which is not there is refused
--     ARGV[1] where the caller expects the clock, microseconds; `-`: it does not know
--     ARGV[2] the shift that the caller has found and wants to change, or `-`   ARGV[3] to what
--     ARGV[4] 1: Redis has forgotten something that the caller had applied
--     ARGV[5] ARGV[6] of a caller that does not know the clock: since when it orders announces, in microseconds before
--     now, and the highest order by this clock that an earlier process left it, 0: none. Its own are later than that
--
-- Answers Redis' time, the shift, `since`, `changed` and `taken`; the error where it cannot be had or kept (a Redis
-- without memory): the caller waits, else each tracker would go by another clock. Nil where TIME is refused, without
-- KEYS[2].

-- A caller that expects another reading than this has not taken it yet.
local AGREEMENT_MICROSECONDS = 1000000
-- What orders may be ahead of `top`: half a second until it is written again (CommonClock.keepNanoseconds), and what
-- clocks are wrong by. Less than what trackers take for a step.
local AHEAD_OF_TOP_MICROSECONDS = 750000

-- Redis' time, or an error. Where the ACL, an earlier version's, has no TIME, the name that Redis gives an entry tells
-- it, to the millisecond. Of a stream that is new: others go on from their last name, whatever the time is.
local function microseconds()
  local time = redis.pcall('TIME')
  if not time.err then return tonumber(time[1]) * 1000000 + tonumber(time[2]) end
  if not KEYS[2] then return end
  -- A Redis without memory takes what comes after an EXPIRE: there is none unless something was left.
  local left = redis.pcall('XLEN', KEYS[2])
  if left ~= 0 then left = redis.pcall('EXPIRE', KEYS[2], 0) end
  if type(left) == 'table' then return left end
  local name = redis.pcall('XADD', KEYS[2], '*', 'time', '')
  if name.err then return name end
  left = redis.pcall('EXPIRE', KEYS[2], 0)
  if type(left) == 'table' then return left end
  return tonumber(string.sub(name, 1, -3)) * 1000
end

local kept = redis.pcall('HMGET', KEYS[1], 'shift', 'top', 'since', 'changed', 'taken')
if kept.err then return kept end
local shift, top = tonumber(kept[1]) or 0, tonumber(kept[2]) or 0
local changed, taken = tonumber(kept[4]) or 0, tonumber(kept[5]) or 0
local now = microseconds()
if type(now) ~= 'number' then return now end
if ARGV[2] ~= '-' and tonumber(ARGV[2]) == shift and now + tonumber(ARGV[3]) >= top then
  shift = tonumber(ARGV[3])
  changed = now + shift
end
-- It never goes back, whoever was there to notice. For a caller that does not know the clock, whatever the last one
-- did with it after the reading. What an earlier process of the caller's did was before the caller began.
local expected = tonumber(ARGV[1])
local least = top
if not expected then
  least = 0
  if now + shift < top then least = top + AHEAD_OF_TOP_MICROSECONDS end
  local lasting, highest = tonumber(ARGV[5]), tonumber(ARGV[6])
  if now + shift - lasting <= highest then least = math.max(least, highest + AHEAD_OF_TOP_MICROSECONDS + lasting) end
end
shift = math.max(shift, least - now)
if not expected or math.abs(now + shift - expected) <= AGREEMENT_MICROSECONDS then
  top = math.max(top, now + shift)
end
if not expected then taken = now + shift end
local since = ARGV[4] ~= '1' and tonumber(kept[3]) or now + shift
local set = redis.pcall('HSET', KEYS[1], 'shift', string.format('%d', shift), 'top', string.format('%d', top),
  'since', string.format('%d', since), 'changed', string.format('%d', changed), 'taken', string.format('%d', taken))
if type(set) == 'table' then return set end
return {now, shift, since, changed, taken}
