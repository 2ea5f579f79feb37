// The sampling half of /debug/pprof/profile: a SIGPROF handler that writes call stacks into memory reserved before. C,
// because a signal handler must not allocate, lock or call the Swift runtime (signal-safety(7)).
#define _GNU_SOURCE
#include "CLinux.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <ucontext.h>

// Frames kept of a stack; deeper ones lose their callers.
enum { MAXIMUM_FRAMES = 64 };
// 16 MB: at least 31,000 samples, five minutes of one core at 100 a second. What comes after is counted.
enum { CAPACITY_WORDS = 2 << 20 };

static uint64_t *words;
static _Atomic size_t used_words;
static _Atomic size_t full_at;
static _Atomic uint64_t dropped_samples;
static _Atomic int running_handlers;
static _Atomic int is_running;
// The end of the calling thread's stack; 0 in a thread that did not say: its frames are not followed.
static __thread uintptr_t stack_end;

void clinux_profile_note_stack(void) {
  pthread_attr_t attributes;
  void *lowest;
  size_t bytes;
  if (pthread_getattr_np(pthread_self(), &attributes) != 0) return;
  if (pthread_attr_getstack(&attributes, &lowest, &bytes) == 0) stack_end = (uintptr_t)lowest + bytes;
  pthread_attr_destroy(&attributes);
}

static void sample(int signal, siginfo_t *info, void *context) {
  (void)signal;
  (void)info;
  int saved = errno;
  atomic_fetch_add_explicit(&running_handlers, 1, memory_order_acquire);
  if (atomic_load_explicit(&is_running, memory_order_acquire)) {
#if defined(__x86_64__)
    const greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    uintptr_t pc = registers[REG_RIP], stack = registers[REG_RSP], frame = registers[REG_RBP];
#elif defined(__aarch64__)
    const mcontext_t *registers = &((ucontext_t *)context)->uc_mcontext;
    uintptr_t pc = registers->pc, stack = registers->sp, frame = registers->regs[29];
#endif
    uint64_t pcs[MAXIMUM_FRAMES];
    size_t depth = 0;
    pcs[depth++] = pc;
    // Each frame record holds the caller's frame and the return address; callers are further up, and never above the end
    // of the stack, so that a register that is no frame pointer leads nowhere but out of this loop.
    uintptr_t end = stack_end;
    while (depth < MAXIMUM_FRAMES && frame >= stack && frame % 8 == 0 && end > 16 && frame <= end - 16) {
      const uintptr_t *record = (const uintptr_t *)frame;
      if (record[1] == 0 || record[0] <= frame) break;
      // The return address is behind the call; one byte back is in it.
      pcs[depth++] = record[1] - 1;
      frame = record[0];
    }
    size_t at = atomic_fetch_add_explicit(&used_words, depth + 2, memory_order_relaxed);
    if (at + depth + 2 <= CAPACITY_WORDS) {
      words[at] = 1;
      words[at + 1] = depth;
      memcpy(words + at + 2, pcs, depth * sizeof pcs[0]);
    } else {
      // From the first that does not fit on, none does: whole samples end where that one would have begun.
      size_t end_of_whole = atomic_load_explicit(&full_at, memory_order_relaxed);
      while (at < end_of_whole && !atomic_compare_exchange_weak(&full_at, &end_of_whole, at)) {}
      atomic_fetch_add_explicit(&dropped_samples, 1, memory_order_relaxed);
    }
  }
  atomic_fetch_sub_explicit(&running_handlers, 1, memory_order_release);
  errno = saved;
}

int clinux_profile_start(int samples_per_second) {
  if (atomic_load(&is_running)) return EBUSY;
  if (!words) {
    void *memory =
        mmap(0, CAPACITY_WORDS * sizeof *words, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return errno;
    words = memory;
  }
  // The handler stays when the profile ends: a signal may still be on its way, and the default would end the process.
  struct sigaction action = {.sa_sigaction = sample, .sa_flags = SA_SIGINFO | SA_RESTART};
  sigfillset(&action.sa_mask);
  if (sigaction(SIGPROF, &action, 0) != 0) return errno;
  atomic_store(&used_words, 0);
  atomic_store(&full_at, CAPACITY_WORDS);
  atomic_store(&dropped_samples, 0);
  atomic_store_explicit(&is_running, 1, memory_order_release);
  struct itimerval timer = {.it_interval.tv_usec = 1000000 / samples_per_second,
                            .it_value.tv_usec = 1000000 / samples_per_second};
  // CPU time of the whole process: a thread that runs gets the signal.
  if (setitimer(ITIMER_PROF, &timer, 0) != 0) {
    atomic_store(&is_running, 0);
    return errno;
  }
  return 0;
}

size_t clinux_profile_stop(const uint64_t **samples, uint64_t *dropped) {
  struct itimerval off = {};
  setitimer(ITIMER_PROF, &off, 0);
  atomic_store(&is_running, 0);
  // A handler on another thread may be writing its sample.
  while (atomic_load_explicit(&running_handlers, memory_order_acquire) != 0) sched_yield();
  *samples = words;
  *dropped = atomic_load(&dropped_samples);
  size_t used = atomic_load(&used_words), full = atomic_load(&full_at);
  return used < full ? used : full;
}
