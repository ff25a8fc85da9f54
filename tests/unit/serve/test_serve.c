/* The parts of the server that need no socket, and a server under failing allocations. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/rng.h"
#include "check.h"
#include "fake_engine.h"
#include "serve/events.h"
#include "serve/json.h"

TEST(sha256_vectors) /* FIPS 180-4 examples, and one across two blocks */
{
    static const struct { const char *text, *hex; } rows[] = {
        {"", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"},
        {"abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"},
        {"abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq",
         "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"}};
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        uint8_t d[RF_SERVE_DIGEST];
        char hex[65];
        rf_serve_sha256(rows[i].text, strlen(rows[i].text), d);
        for (int k = 0; k < 32; k++) snprintf(hex + 2 * k, 3, "%02x", d[k]);
        CHECK_STR(hex, rows[i].hex);
    }
}

TEST(json_strings)
{
    static const struct { const char *in; size_t n; const char *out; } rows[] = {{"a\"b\\c/d", 7, "\"a\\\"b\\\\c/d\""},
                {"\b\t\n\v\f\r\x1f\x7f", 8, "\"\\b\\t\\n\\u000b\\f\\r\\u001f\\u007f\""},
                {"\0x", 2, "\"\\u0000x\""},
                {"h\xc3\xa9\xf0\x9f\x91\x8b", 7, "\"h\xc3\xa9\xf0\x9f\x91\x8b\""},
                {"\xff", 1, "\"\xef\xbf\xbd\""},
                {"\xc3", 1, "\"\xef\xbf\xbd\""},
                {"\xed\xa0\x80", 3, "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\""}};
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        struct rf_buf b = {0};
        rf_serve_json_str(&b, rows[i].in, rows[i].n);
        CHECK_STR(rf_buf_str(&b), rows[i].out);
        rf_buf_release(&b);
    }
    struct rf_buf b = {0};
    rf_serve_json_int(&b, INT64_MIN);
    rf_serve_json_int(&b, 0);
    rf_serve_json_logprob(&b, -INFINITY);
    CHECK_STR(rf_buf_str(&b), "-92233720368547758080-9999.0");
    rf_buf_release(&b);
}

TEST(json_random_strings_survive) /* whatever the bytes, the parser takes what the writer wrote */
{
    struct rf_rng r = {check_seed()};
    for (int i = 0; i < 20000; i++) {
        char s[24];
        size_t n = rf_rng_below(&r, sizeof s);
        for (size_t k = 0; k < n; k++)
            s[k] = (char)(rf_rng_below(&r, 4) ? rf_rng_u64(&r) : (uint64_t) "\"\\\x80\xf0"[rf_rng_below(&r, 4)]);
        struct rf_buf b = {0};
        json_t *root;
        rf_buf_puts(&b, "{\"k\":");
        rf_serve_json_str(&b, s, n);
        rf_buf_puts(&b, "}");
        CHECK(!rf_serve_json_parse(rf_buf_str(&b), b.len, &root, NULL));
        json_decref(root);
        rf_buf_release(&b);
    }
}

TEST(json_refusals_name_the_field)
{
    static const struct { const char *text, *param; } rows[] = {{"{\"a\":1,\"top_k\":9223372036854775808}", "top_k"},
                {"{\"b\":{\"x\":1},\"seed\":1e400 , \"z\":1}", "seed"},
                {"{\"l\":{\"x\":[1,1e999]}}", "l"},
                {"{\"a\\\"b,:\":\"c\",\"n\":-1e400}", "n"},
                {"{", ""},
                {"[]", ""},
                {"", ""},
                {"\xff", ""}};
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        struct rf_error e = {0};
        json_t *root;
        CHECK_INT(rf_serve_json_parse(rows[i].text, strlen(rows[i].text), &root, &e), RF_INVALID);
        CHECK_STR(e.param, rows[i].param);
        CHECK(e.message[0]);
    }
}

TEST(paths)
{
    static const struct { const char *in, *out; } rows[] = {{"/a%2Fb%20c", "/a/b c"}, {"/%", NULL},   {"/%1", NULL},
                {"/%zz", NULL},           {"/%00", NULL}, {"/%c3%a9", "/\xc3\xa9"}};
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        char s[32];
        snprintf(s, sizeof s, "%s", rows[i].in);
        bool ok = rf_serve_http_decode(s);
        CHECK_INT(ok, rows[i].out != NULL);
        if (ok) CHECK_STR(s, rows[i].out);
    }
    const char *rest;
    CHECK(rf_serve_route_find("/v1/models/a/b", &rest) && !strcmp(rest, "a/b"));
    CHECK(!rf_serve_route_find("/v1/models/", &rest) && !rf_serve_route_find("/v1", &rest));
    CHECK(rf_serve_host_is_loopback("localhost:80") && rf_serve_host_is_loopback("[::1]") &&
          rf_serve_host_is_loopback("127.3.2.1"));
    CHECK(!rf_serve_host_is_loopback("128.0.0.1") && !rf_serve_host_is_loopback("localhost.evil") &&
          !rf_serve_host_is_loopback(""));
}

TEST(records_come_back)
{
    struct rf_buf log = {0};
    struct rf_top_logprob top[2] = {{5, -1.5f}, {6, -INFINITY}};
    struct rf_logprob lp[2] = {{5, -1.5f, top, 2}, {7, -2, NULL, 0}};
    struct rf_error err = {.status = RF_NUMERIC, .message = "broken"};
    struct rf_event ev = {
        .kind = RF_EVENT_TOKENS, .text = "ab", .text_len = 2, .n_tokens = 2, .logprobs = lp, .n_logprobs = 2};
    CHECK(rf_serve_record_append(&log, 3, &ev));
    ev = (struct rf_event){
        .kind = RF_EVENT_ERROR, .finish = RF_FINISH_ERROR, .error = &err, .usage = {.prompt_tokens = 9}};
    CHECK(rf_serve_record_append(&log, 4, &ev));
    struct rf_record r;
    struct rf_packed_logprob l;
    size_t pos = 0;
    REQUIRE(rf_serve_record_next(&log, &pos, &r));
    CHECK(r.seq == 3 && r.n_tokens == 2 && r.text_len == 2 && !memcmp(r.text, "ab", 2) && r.n_logprobs == 2 &&
          !r.has_error);
    const unsigned char *p = r.logprobs;
    rf_serve_logprob_next(&p, &l);
    CHECK(l.token == 5 && l.n_top == 2 && rf_serve_logprob_top(&l, 1).token == 6 &&
          isinf(rf_serve_logprob_top(&l, 1).logprob));
    rf_serve_logprob_next(&p, &l);
    CHECK(l.token == 7 && l.n_top == 0);
    REQUIRE(rf_serve_record_next(&log, &pos, &r));
    CHECK(r.seq == 4 && r.has_error && r.error.status == RF_NUMERIC && r.usage.prompt_tokens == 9);
    CHECK(!rf_serve_record_next(&log, &pos, &r));
    rf_buf_release(&log);
}

/* ---- failing allocations ----------------------------------------------------------------------------------------- */

/* One request on its own connection; the status, or 0 if the server only closed. */
static int ask(uint16_t port, const char *path, const char *body)
{
    char text[4096], got[65536];
    int fd = socket(AF_INET, SOCK_STREAM, 0), n;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct timeval patience = {.tv_sec = 60};
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&a, sizeof a)) return close(fd), -1;
    int len = snprintf(text, sizeof text,
                       "%s %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: %zu\r\n\r\n%s",
                       body ? "POST" : "GET", path, body ? strlen(body) : 0, body ? body : "");
    if (send(fd, text, (size_t)len, MSG_NOSIGNAL) != len) return close(fd), -1;
    size_t have = 0;
    while ((n = (int)recv(fd, got + have, sizeof got - 1 - have, 0)) > 0) have += (size_t)n;
    bool timed_out = n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK);
    close(fd);
    got[have] = 0;
    return timed_out ? -2 : have > 12 ? atoi(got + 9) : 0;
}

static const struct { const char *path, *body; } torture[] = {
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"logprobs\":true,\"top_logprobs\":2,\"stop\":\"x\"}"},
    {"/v1/chat/completions",
     "{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"hi\"}]}],\"stream\":true,\"n\":2}"},
    {"/v1/completions",
     "{\"prompt\":[\"a\",\"b\"],\"echo\":true,\"logprobs\":1,\"max_tokens\":3,\"logit_bias\":{\"3\":1}}"},
    {"/tokenize", "{\"prompt\":\"abc\",\"return_token_strs\":true}"},
    {"/detokenize", "{\"tokens\":[104,105]}"},
    {"/metrics", NULL},
    {"/v1/models", NULL},
    {"/nothing", NULL}};

TEST(allocations_fail)
{
    struct rf_serve_options o = {.model_id = "fake"};
    struct rf_error err = {0};
    struct rf_serve *s;
    struct rf_model *m = fake_model_create();
    struct rf_engine *e = fake_engine_create(8, 64);
    for (uint64_t k = 1; k < 12; k++) { /* creation fails cleanly, too */
        rf_mem_fail_at(k);
        rf_status st = rf_serve_create(&s, &o, &err);
        rf_mem_fail_at(0);
        CHECK(st == RF_OK || st == RF_NOMEM);
        rf_serve_free(s);
    }
    REQUIRE(rf_serve_create(&s, &o, &err) == RF_OK);
    REQUIRE(rf_serve_attach(s, m, e, &err) == RF_OK);
    uint16_t port = rf_serve_port(s);
    for (size_t i = 0; i < RF_COUNT(torture); i++) {
        uint64_t before = rf_mem_count();
        CHECK(ask(port, torture[i].path, torture[i].body) >= 200);
        uint64_t n = rf_mem_count() - before;
        for (uint64_t k = 1; k <= n + 1; k++) {
            rf_mem_fail_at(k);
            int status = ask(port, torture[i].path, torture[i].body);
            rf_mem_fail_at(0);
            if (status < 0 || (status > 0 && status < 200))
                CHECK_FAIL_("%s, allocation %" PRIu64 ": status %d", torture[i].path, k, status);
            if (k % 16 == 0) CHECK_INT(ask(port, "/health", NULL), 200);
        }
        CHECK(ask(port, torture[i].path, torture[i].body) >= 200);
    }
    struct rf_stats st;
    rf_engine_stats(e, &st);
    CHECK_INT(st.n_running + st.n_waiting, 0);
    rf_serve_free(s);
    rf_engine_free(e);
    fake_model_free(m);
}

TEST(freed_while_it_runs) /* without rf_serve_run: what runs is aborted, nothing leaks or hangs */
{
    struct rf_serve_options o = {.model_id = "fake"};
    struct rf_serve *s;
    struct rf_model *m = fake_model_create();
    struct rf_engine *e = fake_engine_create(8, 64);
    REQUIRE(rf_serve_create(&s, &o, NULL) == RF_OK);
    REQUIRE(rf_serve_attach(s, m, e, NULL) == RF_OK);
    int fd[4];
    struct sockaddr_in a = {
        .sin_family = AF_INET, .sin_port = htons(rf_serve_port(s)), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const char *body = "{\"prompt\":\"@len=1000 @delay=50\",\"max_tokens\":900,\"stream\":true}";
    for (int i = 0; i < 4; i++) {
        fd[i] = socket(AF_INET, SOCK_STREAM, 0);
        CHECK(!connect(fd[i], (struct sockaddr *)&a, sizeof a));
        dprintf(fd[i], "POST /v1/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n%s",
                strlen(body) - (i == 3), body);
    }
    struct rf_stats st = {0};
    for (int i = 0; i < 6000 && st.n_running < 3; i++, usleep(10000)) rf_engine_stats(e, &st);
    CHECK_INT(st.n_running, 3);
    rf_serve_free(s);
    rf_engine_stats(e, &st);
    CHECK_INT(st.n_running + st.n_waiting, 0);
    for (int i = 0; i < 4; i++) close(fd[i]);
    rf_engine_free(e);
    fake_model_free(m);
}

int main(void)
{
    RUN(sha256_vectors);
    RUN(json_strings);
    RUN(json_random_strings_survive);
    RUN(json_refusals_name_the_field);
    RUN(paths);
    RUN(records_come_back);
    RUN(allocations_fail);
    RUN(freed_while_it_runs);
    return check_end();
}
