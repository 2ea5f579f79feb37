// What Redis itself can do, for the rows `push` and `consume`: the same entries without a tracker or a consumer around them.
// Built and run by Benchmarks/runner; prints a line of JSON.
//
//   redis_limits xadd   SOCKET STREAM EVENTS BATCH   XADD of fourteen fields, BATCH commands in flight
//   redis_limits multi  ...                          the same with HSET and EXPIRE of a snapshot
//   redis_limits script ...                          a script that keeps snapshots and takes differences, BATCH events a call
//   redis_limits drain  ...                          XREADGROUP and XACK of what is there, 500 entries at a time
//
// One user, 1000 torrents, 20,000 peers. Event i has moved 1000 i bytes up and 500 i down.

#include <hiredis/hiredis.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { TORRENTS = 1000, PEERS = 20000, DRAIN_BATCH = 500, FIELDS = 13 };

static const char PASSKEY[] = "0123456789abcdef0123456789abcdef";
static const char *stream;
static redisContext *redis;

static const char SCRIPT[] =
    "for i = 1, #ARGV, 13 do\n"
    "  local key = 'tracker:last:' .. ARGV[i] .. ':' .. ARGV[i+1] .. ':' .. ARGV[i+2]\n"
    "  local up, down, ts = tonumber(ARGV[i+6]), tonumber(ARGV[i+7]), tonumber(ARGV[i+10])\n"
    "  local last = redis.call('HMGET', key, 'uploaded', 'downloaded', 'ts')\n"
    "  local du, dd, dt = 0, 0, 0\n"
    "  if last[1] then\n"
    "    local lu, ld = tonumber(last[1]), tonumber(last[2])\n"
    "    du = up >= lu and up - lu or up\n"
    "    dd = down >= ld and down - ld or down\n"
    "    dt = ts - tonumber(last[3])\n"
    "  end\n"
    "  redis.call('HSET', key, 'uploaded', ARGV[i+6], 'downloaded', ARGV[i+7], 'port', ARGV[i+3], 'ip', ARGV[i+4],\n"
    "    'af', ARGV[i+5], 'ts', ARGV[i+10])\n"
    "  redis.call('EXPIRE', key, 86400)\n"
    "  redis.call('XADD', KEYS[1], '*', 'passkey', ARGV[i], 'infohash', ARGV[i+1], 'peer_id', ARGV[i+2],\n"
    "    'port', ARGV[i+3], 'ip', ARGV[i+4], 'af', ARGV[i+5], 'du', string.format('%.0f', du),\n"
    "    'dd', string.format('%.0f', dd), 'left', ARGV[i+8], 'event', ARGV[i+9], 'ts', ARGV[i+10], 'dt', dt,\n"
    "    'interval', ARGV[i+11], 'min_interval', ARGV[i+12])\n"
    "end\n";

static _Noreturn void fail(const char *what) {
  fprintf(stderr, "%s\n", what);
  exit(1);
}

static double seconds(clockid_t clock) {
  struct timespec time;
  clock_gettime(clock, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

// Ends the program when Redis refuses.
static redisReply *checked(void *reply) {
  if (!reply) fail(redis->errstr);
  if (((redisReply *)reply)->type == REDIS_REPLY_ERROR) fail(((redisReply *)reply)->str);
  return reply;
}

static void take_replies(int count) {
  for (; count > 0; count--) {
    void *reply = NULL;
    if (redisGetReply(redis, &reply) != REDIS_OK) fail(redis->errstr);
    freeReplyObject(checked(reply));
  }
}

static void send_pipelined(long events, int batch, int has_snapshot) {
  char torrent[48], peer[48];
  int waiting = 0;
  for (long i = 0; i < events; i++) {
    long long up = 1000LL * i, down = 500LL * i;
    snprintf(torrent, sizeof torrent, "%040lx", i % TORRENTS);
    snprintf(peer, sizeof peer, "%040lx", i % PEERS);
    redisAppendCommand(redis,
                       "XADD %s * passkey %s infohash %s peer_id %s port 51413 ip 192.168.1.1 af IPv4 du %lld dd %lld left 0 "
                       "event none ts 1700000000 dt 1800 interval 1800 min_interval 900",
                       stream, PASSKEY, torrent, peer, up, down);
    waiting++;
    if (has_snapshot) {
      redisAppendCommand(redis, "HSET tracker:last:%s:%s:%s uploaded %lld downloaded %lld ts 1700000000", PASSKEY, torrent, peer,
                         up, down);
      redisAppendCommand(redis, "EXPIRE tracker:last:%s:%s:%s 86400", PASSKEY, torrent, peer);
      waiting += 2;
    }
    if ((i + 1) % batch == 0 || i + 1 == events) {
      take_replies(waiting);
      waiting = 0;
    }
  }
}

static void send_script(long events, int batch) {
  redisReply *loaded = checked(redisCommand(redis, "SCRIPT LOAD %s", SCRIPT));
  int capacity = 4 + FIELDS * batch;
  const char **words = calloc(capacity, sizeof *words);
  size_t *lengths = calloc(capacity, sizeof *lengths);
  char(*text)[4][48] = calloc(batch, sizeof *text);
  if (!words || !lengths || !text) fail("out of memory");
  for (long i = 0; i < events;) {
    int count = 0;
    words[count++] = "EVALSHA";
    words[count++] = loaded->str;
    words[count++] = "1";
    words[count++] = stream;
    for (int n = 0; n < batch && i < events; n++, i++) {
      snprintf(text[n][0], sizeof text[n][0], "%040lx", i % TORRENTS);
      snprintf(text[n][1], sizeof text[n][1], "%040lx", i % PEERS);
      snprintf(text[n][2], sizeof text[n][2], "%lld", 1000LL * i);
      snprintf(text[n][3], sizeof text[n][3], "%lld", 500LL * i);
      const char *fields[FIELDS] = {PASSKEY,    text[n][0], text[n][1], "51413",      "192.168.1.1", "IPv4", text[n][2],
                                    text[n][3], "0",        "none",     "1700000000", "1800",        "900"};
      memcpy(words + count, fields, sizeof fields);
      count += FIELDS;
    }
    for (int n = 0; n < count; n++) lengths[n] = strlen(words[n]);
    freeReplyObject(checked(redisCommandArgv(redis, count, words, lengths)));
  }
  free(text);
  free(lengths);
  free(words);
  freeReplyObject(loaded);
}

// How many entries there were.
static long drain(void) {
  const char *words[DRAIN_BATCH + 3] = {"XACK", stream, "limit"};
  size_t lengths[DRAIN_BATCH + 3];
  long total = 0;
  for (;;) {
    redisReply *reply =
        checked(redisCommand(redis, "XREADGROUP GROUP limit one COUNT %d STREAMS %s >", DRAIN_BATCH, stream));
    if (reply->type != REDIS_REPLY_ARRAY) {
      freeReplyObject(reply);
      return total;
    }
    redisReply *entries = reply->element[0]->element[1];
    int count = 3;
    for (size_t n = 0; n < entries->elements; n++) words[count++] = entries->element[n]->element[0]->str;
    for (int n = 0; n < count; n++) lengths[n] = strlen(words[n]);
    freeReplyObject(checked(redisCommandArgv(redis, count, words, lengths)));
    total += entries->elements;
    freeReplyObject(reply);
  }
}

int main(int argc, char **argv) {
  if (argc != 6) fail("usage: redis_limits xadd|multi|script|drain SOCKET STREAM EVENTS BATCH");
  const char *mode = argv[1];
  long events = atol(argv[4]);
  int batch = atoi(argv[5]);
  stream = argv[3];
  redis = redisConnectUnix(argv[2]);
  if (!redis || redis->err) fail(redis ? redis->errstr : "no connection");
  if (events < 1 || batch < 1) fail("EVENTS and BATCH: above 0");

  int is_drain = !strcmp(mode, "drain");
  freeReplyObject(checked(is_drain ? redisCommand(redis, "XGROUP CREATE %s limit 0", stream) : redisCommand(redis, "FLUSHALL")));
  double began = seconds(CLOCK_MONOTONIC), cpu = seconds(CLOCK_PROCESS_CPUTIME_ID);
  if (!strcmp(mode, "xadd")) send_pipelined(events, batch, 0);
  else if (!strcmp(mode, "multi")) send_pipelined(events, batch, 1);
  else if (!strcmp(mode, "script")) send_script(events, batch);
  else if (!is_drain) fail("no such mode");
  else if (drain() != events) fail("the stream has another number of entries");
  double took = seconds(CLOCK_MONOTONIC) - began;
  cpu = seconds(CLOCK_PROCESS_CPUTIME_ID) - cpu;

  redisReply *length = checked(redisCommand(redis, "XLEN %s", stream));
  if (length->integer != events) fail("the stream has another length");
  freeReplyObject(length);
  printf("{\"per_second\": %.0f, \"cpu_us\": %.3f}\n", events / took, cpu * 1e6 / events);
  redisFree(redis);
  return 0;
}
