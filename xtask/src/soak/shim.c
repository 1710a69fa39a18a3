/* Loaded into a program with LD_PRELOAD: counts the calls that change something in a folder, and ends the process by
 * SIGKILL before or after one of them, or another rank of its run, or lets the disk be full from there on.
 *
 * DDAE_SOAK_FOLDER  the folder, an absolute path without links in it
 * DDAE_SOAK_RECORD  a file of RECORD_SIZE bytes: the number of calls, the processes, whether something was done, the call at which,
 *                   the kinds of calls
 * DDAE_SOAK_AT      number of the call to die at, from 1; without it the calls are counted
 * DDAE_SOAK_AFTER   set to die after the call rather than before it
 * DDAE_SOAK_RANK    the rank that dies, rather than the process that makes the call
 * DDAE_SOAK_FULL    set to let no process die, but writing and making files fail from that call on, as on a full disk
 *
 * Every call is made with syscall(2), as the C library makes it: nothing has to be looked up, and what stands in for a
 * function never calls it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#define PROCESSES 8
#define TEXT_SIZE 980
#define KINDS_SIZE (1 << 20)

/* The layout of the record; the reader knows it too. */
struct record {
    _Atomic uint64_t calls;
    /* The process that was started, and behind it the ranks, by their numbers. */
    _Atomic int32_t processes[PROCESSES];
    /* 1 once a process was killed or the disk was full. */
    _Atomic int32_t struck;
    char text[TEXT_SIZE];
    /* A letter for each call, in order. */
    char kinds[KINDS_SIZE];
};

static struct record *record;
static char folder[PATH_MAX];
static size_t folder_length;
static uint64_t at;
static int after, full;
/* Where the process that dies is recorded; -1 for the one that makes the call. */
static int victim = -1;

static void present(void) {
    const char *number = getenv("RANK");
    int rank = number ? atoi(number) + 1 : 0;
    int32_t nobody = 0;
    /* A program starts itself anew under its number; its children that are no ranks count for nothing. */
    if (rank >= 0 && rank < PROCESSES) atomic_compare_exchange_strong(&record->processes[rank], &nobody, getpid());
}

__attribute__((constructor)) static void begin(void) {
    const char *wanted = getenv("DDAE_SOAK_FOLDER"), *file = getenv("DDAE_SOAK_RECORD");
    if (!wanted || !file || strlen(wanted) >= sizeof folder) return;
    strcpy(folder, wanted);
    folder_length = strlen(folder);
    const char *number = getenv("DDAE_SOAK_AT");
    at = number ? strtoull(number, NULL, 10) : 0;
    after = getenv("DDAE_SOAK_AFTER") != NULL;
    full = getenv("DDAE_SOAK_FULL") != NULL;
    const char *rank = getenv("DDAE_SOAK_RANK");
    if (rank && atoi(rank) + 1 < PROCESSES) victim = atoi(rank) + 1;
    int fd = syscall(SYS_openat, AT_FDCWD, file, O_RDWR | O_CLOEXEC, 0);
    if (fd < 0) return;
    void *mapped = mmap(NULL, sizeof *record, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    syscall(SYS_close, fd);
    if (mapped == MAP_FAILED) return;
    record = mapped;
    present();
}

static int is_inside(const char *path) {
    return !strncmp(path, folder, folder_length) && (path[folder_length] == '/' || !path[folder_length]);
}

static int path_of(int fd, char *path) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, PATH_MAX - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return 1;
}

static int fd_is_inside(int fd) {
    char path[PATH_MAX];
    return path_of(fd, path) && is_inside(path);
}

/* Paths that climb out of the current folder are taken to lie outside. */
static int name_is_inside(int at_fd, const char *name) {
    char path[PATH_MAX];
    if (!name) return 0;
    if (name[0] == '/') return is_inside(name);
    if (!strncmp(name, "../", 3)) return 0;
    if (at_fd != AT_FDCWD) return fd_is_inside(at_fd);
    return syscall(SYS_getcwd, path, sizeof path) > 0 && is_inside(path);
}

static void die(void) {
    int32_t other = victim < 0 ? 0 : atomic_load(&record->processes[victim]);
    if (victim >= 0 && other != getpid()) {
        /* Before it is there, nobody dies. */
        if (other && !kill(other, SIGKILL)) atomic_store(&record->struck, 1);
        return;
    }
    atomic_store(&record->struck, 1);
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* What a call gives on a full disk. */
static int no_space(void) {
    atomic_store(&record->struck, 1);
    errno = ENOSPC;
    return -1;
}

/* Counts a call; 1 if somebody is to die after it, -1 if the disk is full. */
static int count(char kind, const char *function, const char *from, const char *to) {
    uint64_t number = atomic_fetch_add(&record->calls, 1) + 1;
    if (number <= KINDS_SIZE) record->kinds[number - 1] = kind;
    if (number == at)
        snprintf(record->text, sizeof record->text, "%s %s%s%s", function, from, to ? " -> " : "", to ? to : "");
    /* What is full takes no data and no new names; other calls do as ever. */
    if (full) return at && number >= at && strchr("wom", kind) ? -1 : 0;
    if (number != at) return 0;
    if (after) return 1;
    die();
    return 0;
}

static int count_fd(char kind, const char *function, int fd) {
    int known = errno, last = 0;
    char path[PATH_MAX];
    if (record && path_of(fd, path) && is_inside(path)) last = count(kind, function, path, NULL);
    errno = known;
    return last;
}

static int count_name(char kind, const char *function, int at_fd, const char *name) {
    int known = errno, last = 0;
    if (record && name_is_inside(at_fd, name)) last = count(kind, function, name, NULL);
    errno = known;
    return last;
}

static int count_names(char kind, const char *function, int from_fd, const char *from, int to_fd, const char *to) {
    int known = errno, last = 0;
    if (record && (name_is_inside(from_fd, from) || name_is_inside(to_fd, to)))
        last = count(kind, function, from ? from : "", to ? to : "");
    errno = known;
    return last;
}

/* Defines a function that makes a system call, counted before it is made. */
#define COUNTED(type, function, parameters, counted, call) \
    type function parameters {                             \
        int last = counted;                                \
        if (last < 0) return no_space();                   \
        type result = call;                                \
        if (last) die();                                   \
        return result;                                     \
    }

#define WRITE(function) count_fd('w', function, fd)
COUNTED(ssize_t, write, (int fd, const void *data, size_t size), WRITE("write"), syscall(SYS_write, fd, data, size))
COUNTED(ssize_t, writev, (int fd, const struct iovec *parts, int parts_count), WRITE("writev"),
        syscall(SYS_writev, fd, parts, parts_count))
COUNTED(ssize_t, pwrite, (int fd, const void *data, size_t size, off_t offset), WRITE("pwrite"),
        syscall(SYS_pwrite64, fd, data, size, offset))
COUNTED(ssize_t, pwrite64, (int fd, const void *data, size_t size, off_t offset), WRITE("pwrite"),
        syscall(SYS_pwrite64, fd, data, size, offset))
COUNTED(ssize_t, copy_file_range,
        (int source, off_t *source_offset, int fd, off_t *offset, size_t size, unsigned flags),
        WRITE("copy_file_range"), syscall(SYS_copy_file_range, source, source_offset, fd, offset, size, flags))
COUNTED(ssize_t, sendfile, (int fd, int source, off_t *offset, size_t size), WRITE("sendfile"),
        syscall(SYS_sendfile, fd, source, offset, size))
COUNTED(ssize_t, sendfile64, (int fd, int source, off_t *offset, size_t size), WRITE("sendfile"),
        syscall(SYS_sendfile, fd, source, offset, size))

#define TRUNCATE count_fd('t', "ftruncate", fd)
COUNTED(int, ftruncate, (int fd, off_t size), TRUNCATE, syscall(SYS_ftruncate, fd, size))
COUNTED(int, ftruncate64, (int fd, off_t size), TRUNCATE, syscall(SYS_ftruncate, fd, size))

COUNTED(int, fsync, (int fd), count_fd('s', "fsync", fd), syscall(SYS_fsync, fd))
COUNTED(int, fdatasync, (int fd), count_fd('s', "fdatasync", fd), syscall(SYS_fdatasync, fd))

#define RENAME(from_fd, to_fd) count_names('r', "rename", from_fd, from, to_fd, to)
COUNTED(int, rename, (const char *from, const char *to), RENAME(AT_FDCWD, AT_FDCWD),
        syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0))
COUNTED(int, renameat, (int from_fd, const char *from, int to_fd, const char *to), RENAME(from_fd, to_fd),
        syscall(SYS_renameat2, from_fd, from, to_fd, to, 0))
COUNTED(int, renameat2, (int from_fd, const char *from, int to_fd, const char *to, unsigned flags),
        RENAME(from_fd, to_fd), syscall(SYS_renameat2, from_fd, from, to_fd, to, flags))

#define LINK(from_fd, to_fd) count_names('l', "link", from_fd, from, to_fd, to)
COUNTED(int, link, (const char *from, const char *to), LINK(AT_FDCWD, AT_FDCWD),
        syscall(SYS_linkat, AT_FDCWD, from, AT_FDCWD, to, 0))
COUNTED(int, linkat, (int from_fd, const char *from, int to_fd, const char *to, int flags), LINK(from_fd, to_fd),
        syscall(SYS_linkat, from_fd, from, to_fd, to, flags))
#define SYMLINK(at_fd) count_names('l', "symlink", AT_FDCWD, NULL, at_fd, name)
COUNTED(int, symlink, (const char *to, const char *name), SYMLINK(AT_FDCWD),
        syscall(SYS_symlinkat, to, AT_FDCWD, name))
COUNTED(int, symlinkat, (const char *to, int at_fd, const char *name), SYMLINK(at_fd),
        syscall(SYS_symlinkat, to, at_fd, name))

#define UNLINK(function, at_fd) count_name('u', function, at_fd, name)
COUNTED(int, unlink, (const char *name), UNLINK("unlink", AT_FDCWD), syscall(SYS_unlinkat, AT_FDCWD, name, 0))
COUNTED(int, unlinkat, (int at_fd, const char *name, int flags), UNLINK("unlink", at_fd),
        syscall(SYS_unlinkat, at_fd, name, flags))
COUNTED(int, rmdir, (const char *name), UNLINK("rmdir", AT_FDCWD),
        syscall(SYS_unlinkat, AT_FDCWD, name, AT_REMOVEDIR))

#define MKDIR(at_fd) count_name('m', "mkdir", at_fd, name)
COUNTED(int, mkdir, (const char *name, mode_t mode), MKDIR(AT_FDCWD), syscall(SYS_mkdirat, AT_FDCWD, name, mode))
COUNTED(int, mkdirat, (int at_fd, const char *name, mode_t mode), MKDIR(at_fd),
        syscall(SYS_mkdirat, at_fd, name, mode))

static int open_counted(int at_fd, const char *name, int flags, mode_t mode) {
    int last = flags & (O_CREAT | O_TRUNC) ? count_name('o', "open", at_fd, name) : 0;
    if (last < 0 && syscall(SYS_faccessat, at_fd, name, F_OK)) return no_space();
    int fd = syscall(SYS_openat, at_fd, name, flags, mode);
    if (last > 0) die();
    return fd;
}

/* Defines a function of the open family. */
#define OPEN(function, at_fd, ...)                                  \
    int function(__VA_ARGS__ const char *name, int flags, ...) {    \
        mode_t mode = 0;                                            \
        if (flags & (O_CREAT | __O_TMPFILE)) {                      \
            va_list rest;                                           \
            va_start(rest, flags);                                  \
            mode = va_arg(rest, mode_t);                            \
            va_end(rest);                                           \
        }                                                           \
        return open_counted(at_fd, name, flags, mode);              \
    }
#define AT_FD int at_fd,
OPEN(open, AT_FDCWD)
OPEN(open64, AT_FDCWD)
OPEN(openat, at_fd, AT_FD)
OPEN(openat64, at_fd, AT_FD)
