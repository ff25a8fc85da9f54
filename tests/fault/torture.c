/* torture.c - MODEL [STRIDE]: makes the k-th allocation fail, for every STRIDE-th k, through opening the model, an engine
 * and a server, two requests and the end of it all. Whatever fails, it fails with a status, and the next request is
 * answered as if nothing had been. Under ASan a leak fails it, too. Prints TAP.
 */
#include <arpa/inet.h>
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/mem.h"
#include "check.h"
#include "serve/serve.h"

/* jansson 2.14 drops a value when there is no memory to put it into its object; test_serve looks for leaks of our own. */
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void) { return "leak:libjansson\n"; }

static const char *path;
static uint64_t stride = 1, n_most, n_fail, n_points;

static const struct { const char *path, *body; } asks[] = {
    {"/v1/chat/completions", "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"max_tokens\":3,\"logprobs\":true,\"top_logprobs\":2,\"stop\":[\"zq\"]}"},
    {"/v1/completions", "{\"prompt\":\"ab\",\"max_tokens\":3,\"stream\":true,\"n\":2,\"seed\":1,\"logit_bias\":{\"30\":-5}}"},
};

/* Status of one request; 0 if the server closed without an answer, -1 if it said nothing for 20 s. */
static char got[65536];

static int ask(uint16_t port, size_t which)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 20};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a)) abort();
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    dprintf(fd, "POST %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s", asks[which].path,
            strlen(asks[which].body), asks[which].body);
    size_t have = 0;
    ssize_t n;
    while ((n = recv(fd, got + have, sizeof got - 1 - have, 0)) > 0) have += (size_t)n;
    bool silent = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    close(fd);
    got[have] = 0;
    return silent ? -1 : have > 12 ? atoi(got + 9) : 0;
}

/* One life from the file to the end, with one failure somewhere in it. True if it got as far as two good answers. */
static bool life(uint64_t k)
{
    struct rf_model_options mo = {
        .device = "cpu", .n_threads = 1, .chat_template = "{% for m in messages %}[{{ m.role }}] {{ m['content'] | trim }}\n{% endfor %}"};
    struct rf_engine_options eo = {.kv_blocks = 64, .max_seqs = 8};
    struct rf_serve_options so = {.model_id = "m", .n_workers = 1};
    struct rf_model *m = NULL;
    struct rf_engine *e = NULL;
    struct rf_serve *s = NULL;
    struct rf_error err = {0};
    bool good = false;
    rf_mem_fail_at(k);
    rf_status st = rf_model_open(&m, path, &mo, &err);
    if (!st) st = rf_engine_create(&e, m, &eo, &err);
    if (!st) st = rf_serve_create(&s, &so, &err);
    if (!st) st = rf_serve_attach(s, m, e, &err);
    if (!st) {
        good = true;
        for (size_t i = 0; i < RF_COUNT(asks); i++) {
            int code = ask(rf_serve_port(s), i);
            good = good && code == 200;
            /* the JSON library takes some failures for the text's fault: then it is a 400 */
            bool fine = code == 0 || code == 200 || code == 500 || code == 503 || (code == 400 && strstr(got, "JSON"));
            if (!fine) CHECK_FAIL_("allocation %d: request %d: status %d: %s", (int)k, (int)i, code, strstr(got, "{") ? strstr(got, "{") : got);
        }
        rf_mem_fail_at(0);
        for (size_t i = 0; i < RF_COUNT(asks); i++)
            if (ask(rf_serve_port(s), i) != 200) CHECK_FAIL_("allocation %d: request %d is not answered afterwards", (int)k, (int)i);
    } else if (st != RF_NOMEM || !*err.message) {
        CHECK_FAIL_("allocation %d: %s \"%s\"", (int)k, rf_status_name(st), err.message);
    }
    rf_serve_free(s);
    rf_engine_free(e);
    rf_model_close(m);
    rf_mem_fail_at(0);
    return good;
}

TEST(every_allocation_may_fail)
{
    CHECK(life(0));
    uint64_t before = rf_mem_count();
    CHECK(life(0));
    n_most = rf_mem_count() - before;
    for (uint64_t k = 1; k <= n_most; k += stride, n_points++) n_fail += !life(k);
    printf("# %d allocations in a life, %d of them made to fail, %d times somebody heard of it\n", (int)n_most, (int)n_points, (int)n_fail);
    CHECK(n_fail > n_points / 4);
    CHECK(life(0));
}

int main(int argc, char **argv)
{
    if (argc < 2) return 2;
    path = argv[1];
    if (argc > 2) stride = strtoull(argv[2], NULL, 10);
    json_set_alloc_funcs(rf_alloc, rf_free); /* what the JSON library asks for may fail as well */
    RUN(every_allocation_may_fail);
    return check_end();
}
