/* remove.c - deleting a model of our own store, and nothing else.
 *
 * The path is taken apart again: its real folder must lie in the real own folder, and what is unlinked are names in that
 * folder. A symlink there goes itself, never what it points at.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "base/file.h"
#include "base/mem.h"
#include "registry/internal.h"

static rf_status unlink_one(const char *path, struct rf_error *err)
{
    return unlink(path) ? rf_fail(err, RF_IO, "%s: %s", path, strerror(errno)) : RF_OK;
}

/* The folder that holds path, with no symlink left in it, is `own` or lies below it. */
static rf_status check_inside(const char *path, struct rf_error *err)
{
    char own[RF_REGISTRY_PATH], dir[RF_REGISTRY_PATH];
    int n = snprintf(dir, sizeof dir, "%s", path);
    char *slash = n > 0 && (size_t)n < sizeof dir ? strrchr(dir, '/') : NULL;
    if (!slash || !rf_registry_own_dir(own)) return rf_fail(err, RF_INVALID, "%s: not in our own store", path);
    *slash = 0;
    char *real_own = realpath(own, NULL), *real_dir = realpath(dir, NULL);
    size_t k = real_own ? strlen(real_own) : 0;
    bool inside = real_own && real_dir && !strncmp(real_dir, real_own, k) && (!real_dir[k] || real_dir[k] == '/');
    rf_free(real_own);
    rf_free(real_dir);
    return inside ? RF_OK : rf_fail(err, RF_INVALID, "%s: does not lie in our own store %s", path, own);
}

/* "x-00001-of-00004.gguf": all parts that are there. */
static rf_status remove_parts(const char *path, struct rf_error *err)
{
    char part[RF_REGISTRY_PATH];
    size_t n = strlen(path);
    unsigned no, of;
    if (n <= 20 || sscanf(path + n - 20, "-%5u-of-%5u", &no, &of) != 2) return unlink_one(path, err);
    rf_status s = RF_OK;
    for (unsigned i = 1; !s && i <= of; i++) {
        int k = snprintf(part, sizeof part, "%.*s-%05u-of-%05u.gguf", (int)(n - 20), path, i, of);
        if (k > 0 && (size_t)k < sizeof part && (rf_path_exists(part) || i == 1)) s = unlink_one(part, err);
    }
    return s;
}

/* A GGUF file beside a folder model is a model of its own. */
static bool is_gguf(const char *name)
{
    size_t n = strlen(name);
    return n > 5 && !strcasecmp(name + n - 5, ".gguf");
}

/* A model's folder: the files in it; then the folder, if that leaves it empty. */
static rf_status remove_folder(const char *dir, struct rf_error *err)
{
    DIR *d = opendir(dir);
    rf_status s = d ? RF_OK : rf_fail(err, RF_IO, "%s: %s", dir, strerror(errno));
    for (struct dirent *e; !s && (e = readdir(d));) {
        char path[RF_REGISTRY_PATH];
        struct stat st;
        int k = snprintf(path, sizeof path, "%s/%s", dir, e->d_name);
        if (k <= 0 || (size_t)k >= sizeof path || lstat(path, &st) || S_ISDIR(st.st_mode) || is_gguf(e->d_name)) continue;
        s = unlink_one(path, err);
    }
    if (d) closedir(d);
    if (!s) rmdir(dir); /* sub-folders are not the model's: they stay, and so does it */
    return s;
}

rf_status rf_registry_remove(const struct rf_model_entry *m, struct rf_error *err)
{
    if (strcmp(m->source, "own") != 0)
        return rf_fail(err, RF_INVALID, "%s is not in our own store, but in %s (%s): remove it there", m->name, m->path, m->source);
    RF_TRY(check_inside(m->path, err));
    struct stat st;
    if (lstat(m->path, &st)) return rf_fail(err, RF_IO, "%s: %s", m->path, strerror(errno));
    if (S_ISDIR(st.st_mode)) return remove_folder(m->path, err);
    return remove_parts(m->path, err); /* a symlink to a folder goes as a file: itself */
}
