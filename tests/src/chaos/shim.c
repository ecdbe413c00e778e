/* What a program believes of its clock and its disk: preloaded into the programs under test.
 *
 * CHAOS_CLOCK names a file with the seconds that the wall clock is off; the monotonic clock is never touched.
 * While the file named by CHAOS_FULL is there, nothing can be written below the folder named by CHAOS_FOLDER.
 * CHAOS_DIE_AT is how many steps of writing below that folder a program lives; it dies before the last of them.
 * A program ends with the run that started it, however the run ends. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static long steps_left;

__attribute__((constructor)) static void begin(void) {
    const char *steps = getenv("CHAOS_DIE_AT");
    steps_left = steps ? strtol(steps, 0, 10) : 0;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
}

static void step(void) {
    if (steps_left > 0 && __atomic_sub_fetch(&steps_left, 1, __ATOMIC_SEQ_CST) == 0) kill(getpid(), SIGKILL);
}

static long off(void) {
    const char *path = getenv("CHAOS_CLOCK");
    char text[32] = {0};
    if (!path) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, path, O_RDONLY | O_CLOEXEC, 0);
    if (fd < 0) return 0;
    long got = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    return got > 0 ? strtol(text, 0, 10) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    int result = syscall(SYS_clock_gettime, clock, now);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) now->tv_sec += off();
    return result;
}

int gettimeofday(struct timeval *now, void *zone) {
    struct timespec exact;
    (void)zone;
    if (clock_gettime(CLOCK_REALTIME, &exact)) return -1;
    now->tv_sec = exact.tv_sec;
    now->tv_usec = exact.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *now) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (now) *now = exact.tv_sec;
    return exact.tv_sec;
}

static int below(const char *path) {
    const char *folder = getenv("CHAOS_FOLDER");
    return folder && strncmp(path, folder, strlen(folder)) == 0;
}

static int full(void) {
    const char *flag = getenv("CHAOS_FULL");
    int before = errno;
    int there = flag && syscall(SYS_faccessat, AT_FDCWD, flag, F_OK) == 0;
    errno = before;
    return there;
}

/* Whether a descriptor is of a file that cannot be written to; a step, where it is below the folder. */
static int full_for(int fd) {
    char link[64], path[4096];
    if (steps_left <= 0 && !full()) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    long length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    if (!below(path)) return 0;
    step();
    return full();
}

static int full_at(const char *path) {
    if (!below(path)) return 0;
    step();
    return full();
}

#define NO_SPACE_IF(condition) do { if (condition) { errno = ENOSPC; return -1; } } while (0)

ssize_t write(int fd, const void *bytes, size_t count) {
    NO_SPACE_IF(full_for(fd));
    return syscall(SYS_write, fd, bytes, count);
}

int fsync(int fd) {
    NO_SPACE_IF(full_for(fd));
    return syscall(SYS_fsync, fd);
}

int mkdir(const char *path, mode_t mode) {
    NO_SPACE_IF(full_at(path));
    return syscall(SYS_mkdirat, AT_FDCWD, path, mode);
}

int rename(const char *from, const char *to) {
    if (below(to)) step();
    return syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
}

static int open_at(int folder, const char *path, int flags, mode_t mode) {
    NO_SPACE_IF((flags & O_CREAT) && full_at(path));
    return syscall(SYS_openat, folder, path, flags, mode);
}

#define MODE_OF(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); }

int open(const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(AT_FDCWD, path, flags, mode); }
int open64(const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(AT_FDCWD, path, flags, mode); }
int openat(int at, const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(at, path, flags, mode); }
int openat64(int at, const char *path, int flags, ...) { MODE_OF(flags, mode) return open_at(at, path, flags, mode); }
