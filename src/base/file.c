#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"

/* ---- mappings that lose their pages ------------------------------------------------------------------------------ */

/* Process-wide by nature: a signal handler has no other way to know whose address it was given. A range is written under
 * the lock and read by the handler without it; begin is 0 while it changes, so that what is read between two equal
 * values of begin belongs together. */
struct rf_file_range { _Atomic uintptr_t begin, end; atomic_bool lost; };
enum { MAX_MAPPED = 4096 };
static struct rf_file_range ranges[MAX_MAPPED];
static pthread_mutex_t ranges_lock = PTHREAD_MUTEX_INITIALIZER;
static struct sigaction before_guard;
static bool guarded;
static uintptr_t page_bytes; /* bytes; fixed before the handler is there */

static struct rf_file_range *range_take(const void *p, size_t size)
{
    struct rf_file_range *r = NULL;
    pthread_mutex_lock(&ranges_lock);
    for (size_t i = 0; i < MAX_MAPPED && !r; i++)
        if (!atomic_load(&ranges[i].begin)) r = &ranges[i];
    if (r) {
        atomic_store(&r->lost, false);
        atomic_store(&r->end, (uintptr_t)p + size);
        atomic_store(&r->begin, (uintptr_t)p);
    }
    pthread_mutex_unlock(&ranges_lock);
    return r;
}

static void range_give(struct rf_file_range *r)
{
    if (r) atomic_store(&r->begin, 0);
}

/* Zeros from the page at fault to the end of its mapping: behind a page that is beyond the end of a file are only more
 * of them, and a model that lost one page is not asked for the rest. */
static bool fill_with_zeros(uintptr_t fault)
{
    for (size_t i = 0; i < MAX_MAPPED; i++) {
        struct rf_file_range *r = &ranges[i];
        uintptr_t begin = atomic_load(&r->begin), end = atomic_load(&r->end);
        if (!begin || begin != atomic_load(&r->begin) || fault < begin || fault >= ((end + page_bytes - 1) & ~(page_bytes - 1))) continue;
        fault &= ~(page_bytes - 1);
        atomic_store(&r->lost, true);
        return mmap((void *)fault, end - fault, PROT_READ, MAP_FIXED | MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) != MAP_FAILED;
    }
    return false;
}

static void on_sigbus(int sig, siginfo_t *info, void *context)
{
    int e = errno;
    bool ours = info->si_code > 0 && fill_with_zeros((uintptr_t)info->si_addr); /* not one that kill() sent */
    errno = e;
    if (ours) return;
    if (before_guard.sa_flags & SA_SIGINFO) {
        before_guard.sa_sigaction(sig, info, context);
    } else if (before_guard.sa_handler != SIG_DFL && before_guard.sa_handler != SIG_IGN) {
        before_guard.sa_handler(sig);
    } else {
        signal(sig, SIG_DFL); /* the instruction runs again, and this time ends the process */
        if (info->si_code <= 0) raise(sig);
    }
}

rf_status rf_file_guard(struct rf_error *err)
{
    struct sigaction sa = {.sa_sigaction = on_sigbus, .sa_flags = SA_SIGINFO | SA_ONSTACK | SA_RESTART};
    rf_status s = RF_OK;
    sigemptyset(&sa.sa_mask);
    pthread_mutex_lock(&ranges_lock);
    if (!guarded) page_bytes = (uintptr_t)sysconf(_SC_PAGESIZE);
    if (!guarded && sigaction(SIGBUS, &sa, &before_guard)) s = rf_fail(err, RF_IO, "SIGBUS handler: %s", strerror(errno));
    guarded = guarded || !s;
    pthread_mutex_unlock(&ranges_lock);
    return s;
}

/* ---- opening ----------------------------------------------------------------------------------------------------- */

/* Files of procfs and sysfs claim to be regular and have no size: their bytes are made when they are read. */
static bool is_kernel_file(int fd)
{
    struct statfs fs;
    return !fstatfs(fd, &fs) && (fs.f_type == PROC_SUPER_MAGIC || fs.f_type == SYSFS_MAGIC);
}

/* O_NONBLOCK so that a FIFO without a writer cannot hang us before fstat tells what it is. */
static rf_status open_regular(const char *path, int *fd, struct stat *st, struct rf_error *err)
{
    *fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (*fd < 0) {
        int e = errno;
        return rf_fail(err, e == ENOENT || e == ENOTDIR ? RF_NOT_FOUND : RF_IO, "%s: %s", path, strerror(e));
    }
    if (fstat(*fd, st)) {
        int e = errno;
        close(*fd);
        return rf_fail(err, RF_IO, "%s: %s", path, strerror(e));
    }
    bool regular = S_ISREG(st->st_mode) && !is_kernel_file(*fd);
    if (!regular) {
        close(*fd);
        return rf_fail(err, RF_INVALID, "%s: found %s, expected a regular file", path,
                       S_ISDIR(st->st_mode) ? "a directory" : "a device, pipe or special file");
    }
    return RF_OK;
}

static int64_t mtime_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

rf_status rf_file_open(struct rf_file *f, const char *path, struct rf_error *err)
{
    *f = (struct rf_file){0};
    if (strlen(path) >= sizeof f->path) return rf_fail(err, RF_TOO_LARGE, "path of %zu bytes is too long", strlen(path));
    struct stat st;
    int fd;
    RF_TRY(open_regular(path, &fd, &st, err));
    size_t size = (size_t)st.st_size;
    void *p = NULL;
    if (size) {
        p = mmap(NULL, size, PROT_READ, MAP_PRIVATE, fd, 0);
        if (p == MAP_FAILED) {
            int e = errno;
            close(fd);
            return rf_fail(err, e == ENOMEM ? RF_NOMEM : RF_IO, "%s: mapping %zu bytes: %s", path, size, strerror(e));
        }
    }
    if (p && !(f->range = range_take(p, size))) {
        munmap(p, size);
        close(fd);
        return rf_fail(err, RF_TOO_LARGE, "%s: %d files are mapped already, no more are", path, MAX_MAPPED);
    }
    f->data = p;
    f->size = size;
    f->fd = fd;
    f->open = true;
    f->dev = (uint64_t)st.st_dev;
    f->inode = (uint64_t)st.st_ino;
    f->mtime_ns = mtime_ns(&st);
    strcpy(f->path, path);
    return RF_OK;
}

void rf_file_close(struct rf_file *f)
{
    if (!f->open) return;
    range_give(f->range);
    if (f->data) munmap((void *)(uintptr_t)f->data, f->size);
    close(f->fd);
    *f = (struct rf_file){0};
}

bool rf_file_changed(const struct rf_file *f)
{
    struct stat st;
    if (!f->open) return false;
    if (f->range && atomic_load(&f->range->lost)) return true;
    return fstat(f->fd, &st) || (uint64_t)st.st_size != f->size || mtime_ns(&st) != f->mtime_ns;
}

void rf_file_drop(const struct rf_file *f, size_t off, size_t len)
{
    const size_t page = 4096;
    size_t from = (off + page - 1) & ~(page - 1), to = RF_MIN(off + len, f->size) & ~(page - 1);
    if (f->data && from < to) madvise((void *)(uintptr_t)(f->data + from), to - from, MADV_DONTNEED);
}

rf_status rf_file_read(struct rf_buf *out, const char *path, size_t max, struct rf_error *err)
{
    struct stat st;
    int fd;
    rf_buf_clear(out);
    RF_TRY(open_regular(path, &fd, &st, err));
    rf_status s = RF_OK;
    if ((uint64_t)st.st_size > max)
        s = rf_fail(err, RF_TOO_LARGE, "%s: %lld bytes, at most %zu expected", path, (long long)st.st_size, max);
    size_t size = s ? 0 : (size_t)st.st_size + 65536; /* at once: a large block gets large pages */
    while (!s) {
        if (rf_buf_reserve(out, RF_MAX(size > out->len ? size - out->len : 0, (size_t)65536))) {
            s = rf_fail_nomem(err, path, (size_t)st.st_size);
            break;
        }
        ssize_t n = read(fd, out->data + out->len, 65536);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) s = rf_fail(err, RF_IO, "%s: %s", path, strerror(errno));
        if (n <= 0) break;
        out->len += (size_t)n;
        out->data[out->len] = 0;
        if (out->len > max) s = rf_fail(err, RF_TOO_LARGE, "%s: grew beyond %zu bytes while read", path, max);
    }
    close(fd);
    return s;
}

bool rf_path_is_dir(const char *path)
{
    struct stat st;
    return !stat(path, &st) && S_ISDIR(st.st_mode);
}

bool rf_path_exists(const char *path)
{
    struct stat st;
    return !stat(path, &st);
}

rf_status rf_path_join(char *out, size_t cap, const char *dir, const char *name, struct rf_error *err)
{
    if (!*name || strchr(name, '/') || !strcmp(name, ".") || !strcmp(name, ".."))
        return rf_fail(err, RF_INVALID, "%s: \"%s\" is not a bare file name", dir, name);
    int n = snprintf(out, cap, "%s/%s", dir, name);
    if (n < 0 || (size_t)n >= cap) return rf_fail(err, RF_TOO_LARGE, "path of %d bytes is too long", n);
    return RF_OK;
}
