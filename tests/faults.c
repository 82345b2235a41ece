/* Preloaded into a process under test: makes one of its system calls on some files fail.
 *
 * FAULTS_UNDER=DIR          calls on files below it count; digits in their names are logged as '#'
 * FAULTS_LOG=FILE           gets a line "CALL NAME" for each, and "fault" behind the one that failed
 * FAULTS_AT=CALL:NAME:N:HOW the N-th such call (from 1) fails: "eio", "enospc" and "eintr" without having an effect,
 *                           "done" with its effect and EIO, "short" with half of its bytes and no error
 * FAULTS_HOLD=FILE          all of them, and opening a directory, wait while the file exists: a hanging disk
 */
#define _GNU_SOURCE
#include <ctype.h>
#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <unistd.h>

enum how { PASS, EIO_, ENOSPC_, EINTR_, DONE, SHORT };

static const char *under, *hold, *at_call, *at_name;
static int at_number, lines = -1;
static enum how at_how;
static atomic_int seen;

__attribute__((constructor)) static void begin(void) {
  under = getenv("FAULTS_UNDER");
  hold = getenv("FAULTS_HOLD");
  const char *log = getenv("FAULTS_LOG"), *at = getenv("FAULTS_AT");
  if (log) lines = syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (!at) return;
  char *text = strdup(at), *rest = text;
  at_call = strsep(&rest, ":");
  at_name = strsep(&rest, ":");
  at_number = atoi(strsep(&rest, ":"));
  static const char *const names[] = {"", "eio", "enospc", "eintr", "done", "short"};
  for (int how = EIO_; how <= SHORT; how++)
    if (!strcmp(rest, names[how])) at_how = how;
}

static void tell(const char *call, const char *name) {
  char line[PATH_MAX + 64];
  int length = snprintf(line, sizeof line, "%s %s\n", call, name);
  if (lines >= 0) syscall(SYS_write, lines, line, length);
}

/* Result of this call on this path. */
static enum how of_path(const char *call, const char *path) {
  size_t above = under ? strlen(under) : 0;
  if (!under || strncmp(path, under, above) || (path[above] && path[above] != '/')) return PASS;
  while (hold && !syscall(SYS_faccessat, AT_FDCWD, hold, F_OK)) usleep(10000);
  char name[PATH_MAX];
  size_t length = 0;
  for (const char *from = path + above; *from && length + 1 < sizeof name; from++) {
    char c = isdigit((unsigned char)*from) ? '#' : *from;
    if (c != '#' || !length || name[length - 1] != '#') name[length++] = c;
  }
  name[length] = 0;
  int saved = errno;
  tell(call, name);
  enum how how = PASS;
  if (at_call && !strcmp(call, at_call) && !strcmp(name, at_name) && atomic_fetch_add(&seen, 1) + 1 == at_number) {
    how = at_how;
    tell("fault", name);
  }
  errno = saved;
  return how;
}

static enum how of_file(const char *call, int file) {
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", file);
  int saved = errno;
  long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  errno = saved;
  if (length <= 0) return PASS;
  path[length] = 0;
  return of_path(call, path);
}

static int failed(enum how how) {
  errno = how == ENOSPC_ ? ENOSPC : how == EINTR_ ? EINTR : EIO;
  return -1;
}

#define REAL(name) __typeof__(&name) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

/* Calls without bytes: name for the log, where, then the call. */
#define PLAIN(result, name, logged, where, parameters, arguments) \
  result name parameters {                                        \
    REAL(name);                                                   \
    enum how how = where(logged);                                 \
    if (how == PASS || how == SHORT) return real arguments;       \
    if (how == DONE) real arguments;                              \
    return failed(how);                                           \
  }
#define FILE_(logged) of_file(logged, file)
#define PATH_(logged) of_path(logged, path)

PLAIN(int, fsync, "fsync", FILE_, (int file), (file))
PLAIN(int, fdatasync, "fdatasync", FILE_, (int file), (file))
PLAIN(int, ftruncate, "ftruncate", FILE_, (int file, off_t length), (file, length))
PLAIN(int, ftruncate64, "ftruncate", FILE_, (int file, off64_t length), (file, length))
PLAIN(int, rename, "rename", PATH_, (const char *from, const char *path), (from, path))
PLAIN(int, unlink, "unlink", PATH_, (const char *path), (path))
PLAIN(int, mkdir, "mkdir", PATH_, (const char *path, mode_t mode), (path, mode))

DIR *opendir(const char *path) {
  REAL(opendir);
  if (hold) of_path("opendir", path);
  return real(path);
}

#define OPEN(name)                                              \
  int name(const char *path, int flags, ...) {                  \
    REAL(name);                                                 \
    va_list more;                                               \
    va_start(more, flags);                                      \
    mode_t mode = flags & (O_CREAT | __O_TMPFILE) ? va_arg(more, mode_t) : 0; \
    va_end(more);                                               \
    enum how how = of_path("open", path);                       \
    if (how == PASS || how == SHORT) return real(path, flags, mode); \
    int opened = how == DONE ? real(path, flags, mode) : -1;    \
    if (opened >= 0) close(opened);                             \
    return failed(how);                                         \
  }
OPEN(open)
OPEN(open64)

/* Calls with bytes. */
#define BYTES(name, logged, type, more, arguments)                          \
  ssize_t name(int file, type bytes, size_t count more) {                   \
    REAL(name);                                                             \
    enum how how = of_file(logged, file);                                   \
    if (how == SHORT && count > 1) count /= 2;                              \
    if (how == PASS || how == SHORT) return real arguments;                 \
    if (how == DONE) (void)!real arguments;                                 \
    return failed(how);                                                     \
  }
#define AND ,
BYTES(read, "read", void *, , (file, bytes, count))
BYTES(pread, "pread", void *, AND off_t offset, (file, bytes, count, offset))
BYTES(pread64, "pread", void *, AND off64_t offset, (file, bytes, count, offset))
BYTES(write, "write", const void *, , (file, bytes, count))
BYTES(pwrite, "pwrite", const void *, AND off_t offset, (file, bytes, count, offset))
BYTES(pwrite64, "pwrite", const void *, AND off64_t offset, (file, bytes, count, offset))
