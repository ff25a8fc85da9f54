/* file.h - reading files that strangers wrote: regular files only, sizes known before a byte is touched. */
#ifndef RF_BASE_FILE_H
#define RF_BASE_FILE_H

#include "base/buf.h"

struct rf_file { /* a read-only mapping; all-zero is a valid closed one */
    const uint8_t *data;
    size_t size;
    int fd;              /* kept open for re-checks; meaningful only while data is not NULL or size is 0 and open */
    bool open;
    uint64_t dev, inode;
    int64_t mtime_ns;
    struct rf_file_range *range; /* the mapping as the SIGBUS handler knows it */
    char path[1024];
};

/* Maps a regular file read-only. Devices, FIFOs, directories and procfs-like files of size 0 with content are refused.
 * RF_NOT_FOUND, RF_IO, RF_INVALID (not a regular file), RF_NOMEM. */
rf_status rf_file_open(struct rf_file *f, const char *path, struct rf_error *err);
void rf_file_close(struct rf_file *f);
/* True if the file was written to, cut off or could not be read since it was opened: what its pages say is worth
 * nothing. One that was replaced by renaming is another file, and this one unchanged. A mark, not a lock: look after
 * reading. */
bool rf_file_changed(const struct rf_file *f);
/* From now on a page of an open rf_file that the system cannot give (the file was cut off, its disk fails) reads as zeros
 * and rf_file_changed says so, instead of SIGBUS ending the process. The handler belongs to the whole process: programs
 * call this, the library never does by itself. A SIGBUS from elsewhere goes to the handler that was there before. */
rf_status rf_file_guard(struct rf_error *err);
/* Gives the pages [off, off+len) back to the system; they come again from disk if touched. */
void rf_file_drop(const struct rf_file *f, size_t off, size_t len);
/* Reads a whole regular file of at most max bytes into out (which it clears). */
rf_status rf_file_read(struct rf_buf *out, const char *path, size_t max, struct rf_error *err);
bool rf_path_is_dir(const char *path);
bool rf_path_exists(const char *path);
/* dir + "/" + name into out[cap]; RF_TOO_LARGE if it does not fit, RF_INVALID if name has a '/' or is "." or "..". */
rf_status rf_path_join(char *out, size_t cap, const char *dir, const char *name, struct rf_error *err);

#endif
