/* base/file: regular files only; everything else is refused without hanging. */
#include "base/file.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
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

/* ---- files that change while mapped ------------------------------------------------------------------------------ */

enum { PAGE = 4096 };

static void write_pages(const char *name, int n, char c)
{
    static char page[8 * PAGE];
    memset(page, c, sizeof page);
    write_file(name, page, (size_t)n * PAGE);
}

TEST(changes_are_seen)
{
    struct rf_file f = {0};
    struct rf_error err = {0};
    CHECK(!rf_file_changed(&f));
    write_pages("map", 3, 'a');
    REQUIRE(!rf_file_open(&f, at("map"), &err));
    CHECK(!rf_file_changed(&f));
    write_pages("new", 2, 'b'); /* replaced by renaming: the old file lives on in the mapping */
    char from[256];
    snprintf(from, sizeof from, "%s/new", dir);
    REQUIRE(!rename(from, at("map")));
    CHECK(!rf_file_changed(&f) && f.data[0] == 'a' && f.data[3 * PAGE - 1] == 'a');
    rf_file_close(&f);
    usleep(20000); /* the clock of file times ticks every few milliseconds */
    REQUIRE(!rf_file_open(&f, at("map"), &err));
    FILE *w = fopen(path, "r+");
    REQUIRE(w && !fseek(w, PAGE, SEEK_SET) && fputc('x', w) == 'x' && !fclose(w)); /* one byte, same size */
    CHECK(rf_file_changed(&f));
    rf_file_close(&f);
    REQUIRE(!rf_file_open(&f, at("map"), &err));
    CHECK(!rf_file_changed(&f));
    REQUIRE(!truncate(path, PAGE));
    CHECK(rf_file_changed(&f) && f.data[0] == 'b');
    rf_file_close(&f);
}

TEST(lost_pages_read_as_zeros)
{
    struct rf_file f = {0}, other = {0};
    struct rf_error err = {0};
    REQUIRE(!rf_file_guard(&err) && !rf_file_guard(&err));
    write_pages("map", 6, 'a');
    write_pages("big", 4, 'b');
    REQUIRE(!rf_file_open(&f, at("map"), &err) && !rf_file_open(&other, at("big"), &err));
    REQUIRE(!truncate(at("map"), 2 * PAGE + 10));
    const volatile uint8_t *p = f.data;
    CHECK(p[0] == 'a' && p[2 * PAGE + 9] == 'a' && p[2 * PAGE + 10] == 0); /* the last page is filled up by the system */
    CHECK(p[4 * PAGE + 5] == 0 && p[5 * PAGE] == 0 && p[3 * PAGE] == 0 && p[6 * PAGE - 1] == 0);
    CHECK(rf_file_changed(&f) && !rf_file_changed(&other) && other.data[4 * PAGE - 1] == 'b');
    REQUIRE(!truncate(at("map"), 6 * PAGE)); /* lost is lost, even if it grows again */
    CHECK(rf_file_changed(&f));
    rf_file_close(&f);
    rf_file_close(&other);
    REQUIRE(!rf_file_open(&f, at("map"), &err)); /* the same place in the table, a new life */
    CHECK(!rf_file_changed(&f));
    rf_file_close(&f);
}

static volatile sig_atomic_t seen;
static void note(int sig) { seen = sig; _exit(42); }

/* What is not ours still ends the process, or reaches whoever listened before. */
TEST(other_sigbus_is_not_ours)
{
    for (int listens = 0; listens < 3; listens++) {
        fflush(stdout);
        pid_t pid = fork();
        REQUIRE(pid >= 0);
        if (!pid) {
            struct sigaction sa = {.sa_handler = listens == 1 ? note : SIG_DFL};
            sigaction(SIGBUS, &sa, NULL);
            if (rf_file_guard(NULL)) _exit(1);
            if (listens == 2) raise(SIGBUS);
            write_pages("bus", 2, 'c');
            int fd = open(at("bus"), O_RDWR);
            const volatile char *p = mmap(NULL, 2 * PAGE, PROT_READ, MAP_SHARED, fd, 0);
            if (fd < 0 || ftruncate(fd, 0)) _exit(1);
            _exit(p[PAGE] ? 2 : 3);
        }
        int status;
        REQUIRE(waitpid(pid, &status, 0) == pid);
        if (listens == 1) CHECK(WIFEXITED(status) && WEXITSTATUS(status) == 42);
        else CHECK(WIFSIGNALED(status) && WTERMSIG(status) == SIGBUS);
    }
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
    RUN(other_sigbus_is_not_ours);
    RUN(changes_are_seen);
    RUN(lost_pages_read_as_zeros);
    RUN(reads_up_to_a_maximum);
    RUN(paths);
    static const char *const made[] = {"big", "bus", "empty", "fifo", "map", "sock", "ten"};
    for (size_t i = 0; i < sizeof made / sizeof *made; i++) unlink(at(made[i]));
    return rmdir(dir) ? 1 : check_end();
}
