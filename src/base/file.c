#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "base/mem.h"

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
    f->data = p;
    f->size = size;
    f->fd = fd;
    f->open = true;
    f->dev = (uint64_t)st.st_dev;
    f->inode = (uint64_t)st.st_ino;
    f->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    strcpy(f->path, path);
    return RF_OK;
}

void rf_file_close(struct rf_file *f)
{
    if (!f->open) return;
    if (f->data) munmap((void *)(uintptr_t)f->data, f->size);
    close(f->fd);
    *f = (struct rf_file){0};
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
    while (!s) {
        if (rf_buf_reserve(out, 65536)) {
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
