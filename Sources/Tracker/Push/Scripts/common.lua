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
-- A snapshot without such an `s` is another producer's and begins a generation.
--
-- A record is what PushRecords.swift packs, where its layout is.

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

