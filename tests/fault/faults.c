/* faults.c - a library for LD_PRELOAD that makes the system fail on purpose. RF_FAULT says how:
 *
 *   cut:K:PATH      at the K-th madvise(MADV_DONTNEED), PATH is truncated to nothing
 *   fail:KIND:K     the K-th call of that kind fails, and no other: malloc (with calloc, realloc, posix_memalign), read
 *                   (with pread, recv), mmap, thread, open, socket (with eventfd, epoll_create1), accept
 *   fail:KIND:K+    every call from the K-th on
 *   count:PATH      nothing fails; when the process ends, PATH gets a line "KIND N" for each kind
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT __attribute__((visibility("default")))

enum kind { MALLOC, READ, MMAP, THREAD, OPEN, SOCKET, ACCEPT, N_KIND };
static const char *const kinds[N_KIND] = {"malloc", "read", "mmap", "thread", "open", "socket", "accept"};
static atomic_ulong calls[N_KIND], n_drop;
static enum kind failing = N_KIND;
static unsigned long at_call, cut_at;
static bool from_there_on;
static const char *cut_path, *count_path;

extern void *__libc_malloc(size_t), *__libc_calloc(size_t, size_t), *__libc_realloc(void *, size_t),
    *__libc_memalign(size_t, size_t);

static bool fails(enum kind k)
{
    unsigned long n = atomic_fetch_add(&calls[k], 1) + 1;
    return k == failing && (n == at_call || (from_there_on && n > at_call));
}

static void *next(const char *name) { return dlsym(RTLD_NEXT, name); }

__attribute__((constructor)) static void begin(void)
{
    const char *f = getenv("RF_FAULT");
    if (!f) return;
    if (!strncmp(f, "cut:", 4)) {
        char *end;
        cut_at = strtoul(f + 4, &end, 10);
        cut_path = end + 1;
    } else if (!strncmp(f, "count:", 6)) {
        count_path = f + 6;
    } else if (!strncmp(f, "fail:", 5)) {
        for (int k = 0; k < N_KIND; k++) {
            size_t n = strlen(kinds[k]);
            if (strncmp(f + 5, kinds[k], n) || f[5 + n] != ':') continue;
            char *end;
            at_call = strtoul(f + 6 + n, &end, 10);
            from_there_on = *end == '+';
            failing = (enum kind)k;
        }
    }
}

__attribute__((destructor)) static void end(void)
{
    char line[64];
    int fd = count_path ? open(count_path, O_WRONLY | O_CREAT | O_TRUNC, 0600) : -1;
    for (int k = 0; fd >= 0 && k < N_KIND; k++) {
        int n = snprintf(line, sizeof line, "%s %lu\n", kinds[k], atomic_load(&calls[k]));
        if (write(fd, line, (size_t)n) != n) break;
    }
    if (fd >= 0) close(fd);
}

/* ---- memory ------------------------------------------------------------------------------------------------------ */

#define NO_MEMORY(k, none)  \
    do {                    \
        if (fails(k)) {     \
            errno = ENOMEM; \
            return none;    \
        }                   \
    } while (0)

OUT void *malloc(size_t n)
{
    NO_MEMORY(MALLOC, NULL);
    return __libc_malloc(n);
}

OUT void *calloc(size_t n, size_t size)
{
    NO_MEMORY(MALLOC, NULL);
    return __libc_calloc(n, size);
}

OUT void *realloc(void *p, size_t n)
{
    NO_MEMORY(MALLOC, NULL);
    return __libc_realloc(p, n);
}

OUT int posix_memalign(void **p, size_t align, size_t n)
{
    if (fails(MALLOC)) return ENOMEM;
    *p = __libc_memalign(align, n);
    return *p ? 0 : ENOMEM;
}

OUT void *mmap(void *p, size_t n, int prot, int flags, int fd, off_t off)
{
    static void *(*real)(void *, size_t, int, int, int, off_t);
    if (!real) real = next("mmap");
    NO_MEMORY(MMAP, MAP_FAILED);
    return real(p, n, prot, flags, fd, off);
}

OUT int madvise(void *p, size_t n, int what)
{
    static int (*real)(void *, size_t, int);
    if (!real) real = next("madvise");
    if (what == MADV_DONTNEED && atomic_fetch_add(&n_drop, 1) + 1 == cut_at && truncate(cut_path, 0)) abort();
    return real(p, n, what);
}

/* ---- files, sockets, threads ------------------------------------------------------------------------------------- */

#define FAILING(k, error)  \
    do {                   \
        if (fails(k)) {    \
            errno = error; \
            return -1;     \
        }                  \
    } while (0)

OUT ssize_t read(int fd, void *p, size_t n)
{
    static ssize_t (*real)(int, void *, size_t);
    if (!real) real = next("read");
    FAILING(READ, EIO);
    return real(fd, p, n);
}

OUT ssize_t pread(int fd, void *p, size_t n, off_t off)
{
    static ssize_t (*real)(int, void *, size_t, off_t);
    if (!real) real = next("pread");
    FAILING(READ, EIO);
    return real(fd, p, n, off);
}

OUT ssize_t recv(int fd, void *p, size_t n, int flags)
{
    static ssize_t (*real)(int, void *, size_t, int);
    if (!real) real = next("recv");
    FAILING(READ, ECONNRESET);
    return real(fd, p, n, flags);
}

OUT int open(const char *path, int flags, ...)
{
    static int (*real)(const char *, int, ...);
    if (!real) real = next("open");
    __builtin_va_list ap;
    __builtin_va_start(ap, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? __builtin_va_arg(ap, int) : 0;
    __builtin_va_end(ap);
    FAILING(OPEN, EMFILE);
    return real(path, flags, mode);
}

OUT int socket(int domain, int type, int protocol)
{
    static int (*real)(int, int, int);
    if (!real) real = next("socket");
    FAILING(SOCKET, EMFILE);
    return real(domain, type, protocol);
}

OUT int accept4(int fd, struct sockaddr *a, socklen_t *n, int flags)
{
    static int (*real)(int, struct sockaddr *, socklen_t *, int);
    if (!real) real = next("accept4");
    FAILING(ACCEPT, EMFILE);
    return real(fd, a, n, flags);
}

OUT int eventfd(unsigned start, int flags)
{
    static int (*real)(unsigned, int);
    if (!real) real = next("eventfd");
    FAILING(SOCKET, EMFILE);
    return real(start, flags);
}

OUT int epoll_create1(int flags)
{
    static int (*real)(int);
    if (!real) real = next("epoll_create1");
    FAILING(SOCKET, EMFILE);
    return real(flags);
}

OUT int pthread_create(pthread_t *t, const pthread_attr_t *a, void *(*run)(void *), void *arg)
{
    static int (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *), void *);
    if (!real) real = next("pthread_create");
    return fails(THREAD) ? EAGAIN : real(t, a, run, arg);
}
