// Injects disk faults into a program that is started with LD_PRELOAD: while the file named by FAULT_FILE holds a word,
// calls on files whose path contains FAULT_MATCH fail: ENOSPC or EIO on write, SHORT writes half, FSYNC fails fsync; FOLDER
// holds up fsync of a folder as long as the word is there.
// Compiled by the test that uses it.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static int fault_is(const char *word, int fd) {
  const char *control = getenv("FAULT_FILE"), *match = getenv("FAULT_MATCH");
  if (!control || !match) return 0;
  char link[64], path[512], text[32] = "";
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = readlink(link, path, sizeof path - 1);
  if (length <= 0) return 0;
  path[length] = 0;
  if (!strstr(path, match)) return 0;
  int file = open(control, O_RDONLY | O_CLOEXEC);
  if (file < 0) return 0;
  ssize_t (*real_read)(int, void *, size_t) = dlsym(RTLD_NEXT, "read");
  if (real_read(file, text, sizeof text - 1) < 0) text[0] = 0;
  close(file);
  return strncmp(text, word, strlen(word)) == 0;
}

#define WRITE_FAULT(call, argument_types, arguments, half)                    \
  if (fault_is("ENOSPC", fd)) { errno = ENOSPC; return -1; }                  \
  if (fault_is("EIO", fd)) { errno = EIO; return -1; }                        \
  ssize_t (*real) argument_types = dlsym(RTLD_NEXT, call);                    \
  if (fault_is("SHORT", fd)) return count > 1 ? real half : (errno = ENOSPC, -1); \
  return real arguments;

ssize_t write(int fd, const void *data, size_t count) {
  WRITE_FAULT("write", (int, const void *, size_t), (fd, data, count), (fd, data, count / 2))
}
ssize_t pwrite(int fd, const void *data, size_t count, off_t at) {
  WRITE_FAULT("pwrite", (int, const void *, size_t, off_t), (fd, data, count, at), (fd, data, count / 2, at))
}
ssize_t pwrite64(int fd, const void *data, size_t count, off64_t at) {
  WRITE_FAULT("pwrite64", (int, const void *, size_t, off64_t), (fd, data, count, at), (fd, data, count / 2, at))
}
int fsync(int fd) {
  struct stat info;
  while (fstat(fd, &info) == 0 && S_ISDIR(info.st_mode) && fault_is("FOLDER", fd)) usleep(10000);
  if (fault_is("FSYNC", fd)) { errno = EIO; return -1; }
  int (*real)(int) = dlsym(RTLD_NEXT, "fsync");
  return real(fd);
}
int fdatasync(int fd) {
  if (fault_is("FSYNC", fd)) { errno = EIO; return -1; }
  int (*real)(int) = dlsym(RTLD_NEXT, "fdatasync");
  return real(fd);
}
