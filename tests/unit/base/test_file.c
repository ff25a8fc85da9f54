/* base/file: regular files only; everything else is refused without hanging. */
#include "base/file.h"

#include <errno.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "check.h"

static char dir[] = "/tmp/rf-test-file-XXXXXX";
static char path[256];

static const char *at(const char *name)
{
    snprintf(path, sizeof path, "%s/%s", dir, name);
    return path;
}

static void write_file(const char *name, const void *p, size_t n)
{
    FILE *f = fopen(at(name), "w");
    if (!f || fwrite(p, 1, n, f) != n) CHECK_FAIL_("cannot write %s", path);
    if (f) fclose(f);
}

TEST(maps_a_file)
{
    static char big[20000];
    memset(big, 'z', sizeof big);
    write_file("big", big, sizeof big);
    struct rf_file f;
    struct rf_error err = {0};
    REQUIRE(rf_file_open(&f, at("big"), &err) == RF_OK);
    CHECK_INT(f.size, sizeof big);
    CHECK(!memcmp(f.data, big, sizeof big));
    CHECK(f.inode != 0 && f.mtime_ns != 0);
    CHECK_STR(f.path, path);
    rf_file_drop(&f, 0, f.size);
    CHECK(f.data[19999] == 'z'); /* comes back from disk */
    rf_file_drop(&f, 19999, 1);
    rf_file_close(&f);
    CHECK(!f.open && !f.data);
    rf_file_close(&f);
}

TEST(an_empty_file_is_a_file)
{
    write_file("empty", "", 0);
    struct rf_file f;
    struct rf_error err = {0};
    REQUIRE(rf_file_open(&f, at("empty"), &err) == RF_OK);
    CHECK(f.open && f.size == 0);
    rf_file_drop(&f, 0, 0);
    rf_file_close(&f);
}

TEST(other_things_are_refused)
{
    struct rf_file f;
    struct rf_buf b = {0};
    struct rf_error err = {0};
    REQUIRE(mkfifo(at("fifo"), 0600) == 0);
    CHECK_INT(rf_file_open(&f, path, &err), RF_INVALID);
    CHECK(strstr(err.message, path) && !f.open);
    CHECK_INT(rf_file_read(&b, path, 1000, &err), RF_INVALID);
    CHECK_INT(rf_file_open(&f, dir, &err), RF_INVALID);
    CHECK(strstr(err.message, "directory"));
    CHECK_INT(rf_file_open(&f, "/dev/zero", &err), RF_INVALID);
    CHECK_INT(rf_file_open(&f, "/dev/null", &err), RF_INVALID);
    CHECK_INT(rf_file_open(&f, at("nothing"), &err), RF_NOT_FOUND);
    CHECK_INT(rf_file_open(&f, "", &err), RF_NOT_FOUND);
    char longer[5000];
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = 0;
    CHECK(rf_file_open(&f, longer, &err) != RF_OK);
    int s = socket(AF_UNIX, SOCK_STREAM, 0);
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    snprintf(addr.sun_path, sizeof addr.sun_path, "%s/sock", dir);
    if (s >= 0 && !bind(s, (struct sockaddr *)&addr, sizeof addr)) CHECK(rf_file_open(&f, addr.sun_path, &err) != RF_OK);
    close(s);
    rf_buf_release(&b);
}

TEST(reads_up_to_a_maximum)
{
    struct rf_buf b = {0};
    struct rf_error err = {0};
    write_file("ten", "0123456789", 10);
    CHECK_INT(rf_file_read(&b, at("ten"), 10, &err), RF_OK);
    CHECK_STR(rf_buf_str(&b), "0123456789");
    CHECK_INT(rf_file_read(&b, path, 9, &err), RF_TOO_LARGE);
    CHECK_INT(rf_file_read(&b, path, 100, &err), RF_OK); /* the buffer is cleared, not appended to */
    CHECK_INT(b.len, 10);
    CHECK_INT(rf_file_read(&b, at("nothing"), 100, &err), RF_NOT_FOUND);
    rf_buf_release(&b);
}

TEST(paths)
{
    char out[32];
    struct rf_error err = {0};
    CHECK_INT(rf_path_join(out, sizeof out, "/models", "a.gguf", &err), RF_OK);
    CHECK_STR(out, "/models/a.gguf");
    static const char *const bad[] = {"", ".", "..", "../x", "a/b", "/etc/passwd"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) CHECK_INT(rf_path_join(out, sizeof out, "/m", bad[i], &err), RF_INVALID);
    CHECK_INT(rf_path_join(out, sizeof out, "/models", "a-name-that-is-too-long-for-it.gguf", &err), RF_TOO_LARGE);
    CHECK(rf_path_is_dir(dir) && rf_path_exists(dir) && !rf_path_exists(at("nothing")) && !rf_path_is_dir(at("ten")));
}

int main(void)
{
    if (!mkdtemp(dir)) return 1;
    RUN(maps_a_file);
    RUN(an_empty_file_is_a_file);
    RUN(other_things_are_refused);
    RUN(reads_up_to_a_maximum);
    RUN(paths);
    static const char *const made[] = {"big", "empty", "fifo", "sock", "ten"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) unlink(at(made[i]));
    return rmdir(dir) ? 1 : check_end();
}
