// Preloaded into the tracker by AllocationTests: counts each thread's allocations into the file that ALLOCATION_COUNTS
// names, as an array of (thread id, count). A program that replaces malloc and leaves free to glibc calls glibc's
// functions by their other name (glibc manual, "Replacing malloc").
#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

// Threads that can be told apart; the tracker has a dozen. AllocationTests reads the same number.
enum { SLOTS = 1024 };
struct slot {
  uint64_t thread;
  uint64_t count;
};
static struct slot *slots;
static unsigned int used;
static _Thread_local struct slot *own __attribute__((tls_model("initial-exec")));

__attribute__((constructor)) static void open_counts(void) {
  const char *path = getenv("ALLOCATION_COUNTS");
  int file = path ? open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600) : -1;
  if (file < 0 || ftruncate(file, SLOTS * sizeof(struct slot))) return;
  void *memory = mmap(NULL, SLOTS * sizeof(struct slot), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
  close(file);
  if (memory != MAP_FAILED) slots = memory;
}

static void count(void) {
  if (!slots) return;
  if (!own) {
    unsigned int number = __atomic_fetch_add(&used, 1, __ATOMIC_RELAXED);
    own = &slots[number < SLOTS ? number : SLOTS - 1];
    own->thread = (uint64_t)syscall(SYS_gettid);
  }
  __atomic_store_n(&own->count, own->count + 1, __ATOMIC_RELAXED);
}

extern void *__libc_malloc(size_t size);
extern void *__libc_calloc(size_t count, size_t size);
extern void *__libc_realloc(void *memory, size_t size);
extern void *__libc_memalign(size_t alignment, size_t size);

void *malloc(size_t size) {
  count();
  return __libc_malloc(size);
}
void *calloc(size_t number, size_t size) {
  count();
  return __libc_calloc(number, size);
}
void *realloc(void *memory, size_t size) {
  count();
  return __libc_realloc(memory, size);
}
void *aligned_alloc(size_t alignment, size_t size) {
  count();
  return __libc_memalign(alignment, size);
}
int posix_memalign(void **memory, size_t alignment, size_t size) {
  count();
  *memory = __libc_memalign(alignment, size);
  return *memory ? 0 : ENOMEM;
}
