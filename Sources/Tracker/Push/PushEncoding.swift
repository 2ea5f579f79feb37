// PushEncoding: the memory in which a call is encoded: some 100 KB. Only calls on their way need one, so a session has a few
// and hands them from call to call; what is held is encoded again from its announces. One thread.

import Redis

final class PushEncoding {
  var buffer = RedisCommandBuffer(capacity: 64 * 1024)
  var records = PushRecords()
}
