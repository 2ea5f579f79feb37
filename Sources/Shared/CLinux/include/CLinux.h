// Linux calls that `import Glibc` does not offer: epoll, eventfd, signalfd, timerfd, recvmmsg/sendmmsg, accept4, thread
// affinity and names, and the variadic ones. _GNU_SOURCE is defined in CLinux.c only: here it would change declarations
// that Swift's Glibc module has already seen.
#pragma once
#include <malloc.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/un.h>

/// struct mmsghdr (recvmmsg(2)): one message of a batch and the bytes it carried.
struct clinux_mmsghdr {
  struct msghdr msg_hdr;
  unsigned int msg_len;
};

/// Room for the control message that says which address a datagram was sent to: IP_PKTINFO (ip(7)) or IPV6_PKTINFO
/// (ipv6(7)), a header of 16 bytes and at most 20 bytes, aligned.
struct clinux_control {
  uint64_t words[5];
};
/// Makes of a received control message the one that sends a reply from that address. The interface stays the routing's
/// choice; only a link-local address needs it.
void clinux_reply_from(struct msghdr *message);

/// recvmmsg(2) without timeout, sendmmsg(2).
int clinux_recvmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags);
int clinux_sendmmsg(int fd, struct clinux_mmsghdr *messages, unsigned int count, int flags);
/// accept4(2) with SOCK_NONBLOCK | SOCK_CLOEXEC.
int clinux_accept(int fd, struct sockaddr *address, socklen_t *length);
/// open(2) with O_CLOEXEC added.
int clinux_open(const char *path, int flags, unsigned int mode);
/// Sets O_NONBLOCK.
int clinux_set_nonblocking(int fd);
/// Pins the calling thread to one CPU; 0 or an errno value.
int clinux_pin_thread(int cpu);
/// Names the calling thread (15 bytes at most are kept by the kernel).
int clinux_name_thread(const char *name);
/// The git commit this was built from, or "unknown".
const char *clinux_build_commit(void);

/// Tells the profiler where the calling thread's stack ends; without it only the innermost function is seen.
void clinux_profile_note_stack(void);
/// Begins to sample the call stacks of running threads by SIGPROF; 0, EBUSY when it does already, or an errno value.
int clinux_profile_start(int samples_per_second);
/// Ends it. Returns the words of the samples in order (1, the depth, then the program counters, innermost first), valid
/// until the next start, and how many samples did not fit.
size_t clinux_profile_stop(const uint64_t **samples, uint64_t *dropped);

/// epoll_ctl(2) with the 64-bit user data set directly (the union does not import well).
static inline int clinux_epoll_ctl(int epfd, int op, int fd, uint32_t events, uint64_t data) {
  struct epoll_event event;
  event.events = events;
  event.data.u64 = data;
  return epoll_ctl(epfd, op, fd, &event);
}
/// The user data of one returned event.
static inline uint64_t clinux_epoll_data(const struct epoll_event *event) { return event->data.u64; }
/// A prefetch hint for data about to be read.
static inline void clinux_prefetch(const void *address) { __builtin_prefetch(address, 0, 3); }
