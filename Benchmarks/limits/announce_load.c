// A second load generator, for the rows `generator-*`: written apart from Benchmarks/LoadGenerator, as plainly as it can be,
// so that the one can be checked by the other. A closed loop on a tracker at 127.0.0.1; prints a line of JSON.
//
//   announce_load udp|keep-alive|close PORT SECONDS
//
// 1000 torrents, 100,000 peers, 50 peers wanted, random peers; UDP: 16 sockets with 16 announces in flight each; HTTP: 64
// connections with one request each. The first fifth of the time is not counted.

#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { TORRENTS = 1000, PEERS = 100000, SOCKETS = 16, WINDOW = 16, CONNECTIONS = 64, EVENTS = 64, REPLY_BYTES = 8192 };

// One UDP socket or HTTP connection.
typedef struct {
  int descriptor, index, in_flight;
  uint64_t connection_id;
  double last;
  size_t to_send, sent, received;
  char request[768], reply[REPLY_BYTES];
} Line;

static struct sockaddr_in tracker;
static int poller;
static uint64_t replies, errors;

static _Noreturn void fail(const char *what) {
  perror(what);
  exit(1);
}

static double now(void) {
  struct timespec time;
  clock_gettime(CLOCK_MONOTONIC, &time);
  return time.tv_sec + time.tv_nsec * 1e-9;
}

static uint32_t below(uint32_t bound) {
  static uint64_t state = 88172645463325252ull;
  state ^= state << 7;
  state ^= state >> 9;
  return (state >> 32) * bound >> 32;
}

// A peer that speaks from this line only, and the one torrent it sits in.
static uint32_t choose(const Line *line, uint32_t lines, uint32_t *torrent) {
  uint32_t number = below(PEERS / lines);
  *torrent = number * 2654435761u % TORRENTS;
  return number * lines + line->index;
}

static void open_line(Line *line, int type) {
  struct sockaddr_in source = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002u + line->index % 64)};
  int one = 1;
  line->descriptor = socket(AF_INET, type | SOCK_NONBLOCK, 0);
  if (line->descriptor < 0) fail("socket");
  setsockopt(line->descriptor, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(line->descriptor, (struct sockaddr *)&source, sizeof source)) fail("bind");
  if (connect(line->descriptor, (struct sockaddr *)&tracker, sizeof tracker) && errno != EINPROGRESS) fail("connect");
  struct epoll_event event = {.events = EPOLLIN | (type == SOCK_STREAM ? EPOLLOUT | EPOLLET : 0), .data.ptr = line};
  if (epoll_ctl(poller, EPOLL_CTL_ADD, line->descriptor, &event)) fail("epoll_ctl");
}

// MARK: UDP (BEP 15)

static void put32(uint8_t *bytes, uint32_t value) {
  value = htonl(value);
  memcpy(bytes, &value, sizeof value);
}

static void write_announce(const Line *line, uint8_t *bytes, uint32_t transaction) {
  uint32_t torrent, peer = choose(line, SOCKETS, &torrent);
  memset(bytes, 0, 98);
  memcpy(bytes, &line->connection_id, 8);
  put32(bytes + 8, 1);
  put32(bytes + 12, transaction);
  put32(bytes + 16, torrent * 2654435761u);
  put32(bytes + 20, torrent);
  memcpy(bytes + 36, "-TR3000-aaaaaaaa", 16);
  put32(bytes + 52, peer);
  put32(bytes + 60, below(1000000));
  put32(bytes + 68, peer & 1 ? 0 : 1000000);
  put32(bytes + 76, below(1000000));
  put32(bytes + 92, 50);
  bytes[96] = peer >> 8 | 0x80;
  bytes[97] = peer;
}

static void fill_window(Line *line) {
  static uint8_t requests[WINDOW][98];
  static uint32_t transaction;
  struct iovec slices[WINDOW];
  struct mmsghdr messages[WINDOW] = {0};
  int count = WINDOW - line->in_flight;
  for (int n = 0; n < count; n++) {
    write_announce(line, requests[n], ++transaction);
    slices[n] = (struct iovec){requests[n], sizeof requests[n]};
    messages[n].msg_hdr.msg_iov = &slices[n];
    messages[n].msg_hdr.msg_iovlen = 1;
  }
  int sent = sendmmsg(line->descriptor, messages, count, 0);
  if (sent > 0) line->in_flight += sent;
  line->last = now();
}

static void handle_udp(Line *line) {
  static uint8_t bytes[WINDOW][2048];
  struct iovec slices[WINDOW];
  struct mmsghdr messages[WINDOW] = {0};
  for (int n = 0; n < WINDOW; n++) {
    slices[n] = (struct iovec){bytes[n], sizeof bytes[n]};
    messages[n].msg_hdr.msg_iov = &slices[n];
    messages[n].msg_hdr.msg_iovlen = 1;
  }
  int count = recvmmsg(line->descriptor, messages, WINDOW, 0, NULL);
  for (int n = 0; n < count; n++) {
    int is_announce = messages[n].msg_len >= 20 && bytes[n][3] == 1 && (messages[n].msg_len - 20) % 6 == 0;
    if (is_announce) replies++;
    else errors++;
  }
  if (count > 0) line->in_flight = count < line->in_flight ? line->in_flight - count : 0;
  fill_window(line);
}

static void begin_udp(Line *line) {
  uint8_t request[16] = {0x00, 0x00, 0x04, 0x17, 0x27, 0x10, 0x19, 0x80}, reply[64];
  struct pollfd wait = {.events = POLLIN};
  open_line(line, SOCK_DGRAM);
  wait.fd = line->descriptor;
  if (send(line->descriptor, request, sizeof request, 0) != 16 || poll(&wait, 1, 2000) != 1 ||
      recv(line->descriptor, reply, sizeof reply, 0) < 16)
    fail("no reply to connect");
  memcpy(&line->connection_id, reply + 8, 8);
  fill_window(line);
}

// MARK: HTTP

static int is_kept;

static void write_request(Line *line) {
  uint32_t torrent, peer = choose(line, CONNECTIONS, &torrent), hash = torrent * 2654435761u;
  line->to_send = snprintf(
      line->request, sizeof line->request,
      "GET /announce?info_hash=%%%02x%%%02x%%%02x%%%02x%%%02x%%%02x%%%02x%%%02x%%00%%00%%00%%00%%00%%00%%00%%00%%00%%00%%00%%00"
      "&peer_id=-qB4500-%012u&port=%u&uploaded=%u&downloaded=%u&left=%u&corrupt=0&key=1A2B3C4D&numwant=50&compact=1"
      "&no_peer_id=1&supportcrypto=1&redundant=0 HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: qBittorrent/4.5.2\r\n"
      "Accept-Encoding: gzip\r\nConnection: %s\r\n\r\n",
      hash >> 24, hash >> 16 & 255, hash >> 8 & 255, hash & 255, torrent >> 24, torrent >> 16 & 255, torrent >> 8 & 255,
      torrent & 255, peer, 1024 + peer % 60000, below(1000000), below(1000000), peer & 1 ? 0 : 1000000,
      is_kept ? "keep-alive" : "close");
  line->sent = line->received = 0;
}

static void flush_request(Line *line) {
  while (line->sent < line->to_send) {
    ssize_t count = send(line->descriptor, line->request + line->sent, line->to_send - line->sent, MSG_NOSIGNAL);
    if (count <= 0) return;  // EPOLLOUT comes when it is connected
    line->sent += count;
  }
}

static void begin_http(Line *line) {
  write_request(line);
  open_line(line, SOCK_STREAM);
}

// 1: a whole announce reply, -1: a whole reply of another kind, 0: not whole yet.
static int judge(Line *line, int has_ended) {
  char *end = memmem(line->reply, line->received, "\r\n\r\n", 4);
  if (!end) return has_ended ? -1 : 0;
  size_t head = end + 4 - line->reply;
  char *field = memmem(line->reply, head, "\r\nContent-Length:", 17);
  if (!field) field = memmem(line->reply, head, "\r\ncontent-length:", 17);
  if (field ? line->received < head + strtoul(field + 17, NULL, 10) : !has_ended) return has_ended ? -1 : 0;
  return memmem(end, line->reply + line->received - end, "5:peers", 7) ? 1 : -1;
}

static void handle_http(Line *line) {
  int has_ended = 0;
  flush_request(line);
  for (;;) {
    ssize_t count = recv(line->descriptor, line->reply + line->received, sizeof line->reply - line->received, 0);
    if (count > 0) line->received += count;
    else {
      has_ended = count == 0 || (errno != EAGAIN && errno != ENOTCONN);
      break;
    }
  }
  int found = judge(line, has_ended);
  if (!found) return;
  if (found > 0) replies++;
  else errors++;
  if (is_kept && !has_ended) {
    write_request(line);
    flush_request(line);
    return;
  }
  struct linger reset = {1, 0};  // no port waits in TIME_WAIT
  setsockopt(line->descriptor, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  close(line->descriptor);
  begin_http(line);
}

int main(int argc, char **argv) {
  int is_udp = argc == 4 && !strcmp(argv[1], "udp");
  is_kept = argc == 4 && !strcmp(argv[1], "keep-alive");
  if (!is_udp && !is_kept && (argc != 4 || strcmp(argv[1], "close"))) {
    fprintf(stderr, "usage: announce_load udp|keep-alive|close PORT SECONDS\n");
    return 64;
  }
  tracker = (struct sockaddr_in){
      .sin_family = AF_INET, .sin_port = htons(atoi(argv[2])), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  double duration = atof(argv[3]);
  int count = is_udp ? SOCKETS : CONNECTIONS;
  Line *lines = calloc(count, sizeof *lines);
  poller = epoll_create1(0);
  if (!lines || poller < 0) fail("epoll_create1");
  for (int n = 0; n < count; n++) {
    lines[n].index = n;
    if (is_udp) begin_udp(&lines[n]);
    else begin_http(&lines[n]);
  }

  double began = now(), counted_from = 0, end = began + duration, time;
  while ((time = now()) < end) {
    if (!counted_from && time >= began + duration / 5) {
      counted_from = time;
      replies = errors = 0;
    }
    struct epoll_event events[EVENTS];
    int ready = epoll_wait(poller, events, EVENTS, 50);
    for (int n = 0; n < ready; n++) {
      if (is_udp) handle_udp(events[n].data.ptr);
      else handle_http(events[n].data.ptr);
    }
    // A lost datagram must not close a window for good.
    for (int n = 0; is_udp && n < count; n++) {
      if (time < lines[n].last + 0.25) continue;
      lines[n].in_flight = 0;
      fill_window(&lines[n]);
    }
  }
  printf("{\"replies_per_second\": %.0f, \"errors\": %llu}\n", replies / (now() - counted_from), (unsigned long long)errors);
  return 0;
}
