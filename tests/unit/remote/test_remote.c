/* The client's readers without a network: event streams cut at every place, bounds, chunks of several servers, errors, addresses. */
#include "check.h"
#include "base/mem.h"
#include "remote/answer.h"

/* ---- events ---- */

static rf_status log_event(void *ctx, const struct rf_sse_event *ev, struct rf_error *err)
{
    struct rf_buf *log = ctx;
    (void)err;
    rf_buf_puts(log, "[");
    rf_buf_append(log, ev->name.s, ev->name.n);
    rf_buf_puts(log, "|");
    rf_buf_append(log, ev->data.s, ev->data.n);
    rf_buf_puts(log, "]");
    return RF_OK;
}

static void feed(const char *s, size_t n, size_t a, size_t b, struct rf_buf *log)
{
    struct rf_sse p = {0};
    struct rf_error err = {0};
    rf_buf_clear(log);
    CHECK_INT(rf_sse_feed(&p, s, a, log_event, log, &err), RF_OK);
    CHECK_INT(rf_sse_feed(&p, s + a, b - a, log_event, log, &err), RF_OK);
    CHECK_INT(rf_sse_feed(&p, s + b, n - b, log_event, log, &err), RF_OK);
    rf_sse_release(&p);
}

static const struct { const char *in, *want; } streams[] = {
    {"data: a\n\n", "[|a]"},
    {"data:a\n\ndata:  b\n\n", "[|a][| b]"},
    {"data: a\r\n\r\ndata: b\r\r", "[|a][|b]"},
    {"data: a\rdata: b\n\r\ndata: c\r\n\n", "[|a\nb][|c]"},
    {"data: a\n\r\ndata: b\r\n\r", "[|a][|b]"},
    {"\xEF\xBB\xBF" "data: a\n\n\xEF\xBB\xBF" "data: b\n\n", "[|a]"}, /* a mark later on is part of a name nobody knows */
    {"\xEF\xBB\xBF\n\ndata: a\n\n", "[|a]"},
    {": comment\n:\n\ndata: a\n: in between\ndata: b\n\n:\r\r", "[|a\nb]"},
    {"event: error\ndata: a\n\ndata: b\n\n", "[error|a][|b]"},
    {"event: x\n\ndata: a\n\n", "[|a]"}, /* no data: no event, and the name is forgotten */
    {"event: x\nevent:y\ndata\n\n", "[y|]"},
    {"data\n\ndata:\n\ndata\ndata\n\n", "[|][|][|\n]"},
    {"id: 7\nretry: 100\ndata: a\nunknown: b\nDATA: c\n data: d\ndat: e\ndatas: f\n\n", "[|a]"},
    {"data: a: b:c\n\n", "[|a: b:c]"},
    {"data: never ended\n", ""},
    {"data: a\n\ndata: b", "[|a]"},
    {"", ""},
    {"\n\n\r\n\r\r", ""},
};

TEST(every_stream_however_it_is_cut)
{
    struct rf_buf log = {0};
    for (size_t i = 0; i < RF_COUNT(streams); i++) {
        size_t n = strlen(streams[i].in);
        for (size_t a = 0; a <= n; a++)
            for (size_t b = a; b <= n; b++) {
                feed(streams[i].in, n, a, b, &log);
                if (strcmp(rf_buf_str(&log), streams[i].want)) printf("# stream %zu cut at %zu and %zu\n", i, a, b);
                CHECK_STR(rf_buf_str(&log), streams[i].want);
            }
    }
    rf_buf_release(&log);
}

TEST(a_nul_is_a_byte_like_any_other)
{
    static const char in[] = "data: a\0b\n\n";
    struct rf_buf log = {0};
    feed(in, sizeof in - 1, 3, 8, &log);
    CHECK_INT(log.len, 6);
    CHECK(!memcmp(log.data, "[|a\0b]", 6));
    rf_buf_release(&log);
}

/* Feeds `head` once and `piece` until it fails. Bytes taken, 0 if it never failed. */
static size_t until_refused(const char *head, const char *piece, size_t n_piece, size_t max, char *message)
{
    struct rf_sse p = {0};
    struct rf_buf log = {.max = 1000};
    struct rf_error err = {0};
    size_t taken = 0;
    rf_status st = rf_sse_feed(&p, head, strlen(head), log_event, &log, &err);
    while (!st && taken <= max) {
        st = rf_sse_feed(&p, piece, n_piece, log_event, &log, &err);
        taken += n_piece;
    }
    CHECK_INT(st, RF_TOO_LARGE);
    snprintf(message, 512, "%s", err.message);
    CHECK(p.line.cap + p.name.cap + p.data.cap < 12u << 20);
    rf_sse_release(&p);
    rf_buf_release(&log);
    return st ? taken : 0;
}

TEST(lines_and_events_have_a_most)
{
    char *piece = malloc(65536), message[512];
    memset(piece, 'x', 65536);
    size_t n = until_refused("data: ", piece, 65536, 1u << 23, message);
    CHECK(n >= RF_SSE_LINE_MAX && n <= RF_SSE_LINE_MAX + 65536);
    CHECK(strstr(message, "a line") && strstr(message, "1048576"));
    CHECK(until_refused(": ", piece, 65536, 1u << 23, message) && strstr(message, "a line")); /* a comment that never ends */
    memcpy(piece, "data: ", 6);
    piece[65535] = '\n';
    n = until_refused("", piece, 65536, 1u << 24, message);
    CHECK(n > RF_SSE_EVENT_MAX && n < RF_SSE_EVENT_MAX + 200000);
    CHECK(strstr(message, "an event") && strstr(message, "4194304"));
    free(piece);
}

/* ---- answers ---- */

struct seen { char text[4000], thought[400]; unsigned n; bool stop; };

static bool on_text(void *ctx, enum rf_remote_part part, const char *s, size_t n)
{
    struct seen *g = ctx;
    char *to = part == RF_REMOTE_TEXT ? g->text : g->thought;
    strncat(to, s, n);
    g->n++;
    return !g->stop;
}

static rf_status read_answer(const char *type, const char *body, size_t cut, struct seen *g, struct rf_remote_answer *a, struct rf_error *err)
{
    const struct rf_remote_sink sink = {on_text, NULL, g};
    struct rf_remote_reader r = {.from = "http://h/v1", .sink = &sink, .answer = a};
    *g = (struct seen){.stop = g->stop};
    *a = (struct rf_remote_answer){0};
    *err = (struct rf_error){0};
    size_t n = strlen(body);
    rf_status st = rf_remote_reader_start(&r, type, err);
    if (!st) st = rf_remote_reader_feed(&r, body, cut, err);
    if (!st) st = rf_remote_reader_feed(&r, body + cut, n - cut, err);
    if (!st) st = rf_remote_reader_end(&r, err);
    rf_remote_reader_release(&r);
    return st;
}

static const struct { const char *what, *type, *body, *text, *thought; rf_status st; enum rf_finish finish; int completion; } answers[] = {
    {"as ours, vLLM and llama-server stream", "text/event-stream",
     "data: {\"choices\":[{\"delta\":{\"role\":\"assistant\",\"content\":\"\"},\"finish_reason\":null}]}\n\n"
     "data: {\"choices\":[{\"delta\":{\"content\":\"Gr\\u00fc\\u00df\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\" dich\"}}],\"usage\":null}\n\n"
     "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"length\"}]}\n\n"
     "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,\"completion_tokens\":3,\"prompt_tokens_details\":{\"cached_tokens\":5}}}\n\ndata: [DONE]\n\nrubbish\n\n",
     "Gr\u00fc\u00df dich", "", RF_OK, RF_FINISH_LENGTH, 3},
    {"thoughts, in both spellings", "text/event-stream",
     "data: {\"choices\":[{\"delta\":{\"reasoning_content\":\"hm\",\"content\":null}}]}\n\ndata: {\"choices\":[{\"delta\":{\"reasoning\":\" so\"}}]}\n\n"
     "data: {\"choices\":[{\"delta\":{\"content\":\"42\"},\"finish_reason\":\"stop\"}]}\n\n", "42", "hm so", RF_OK, RF_FINISH_STOP, 0},
    {"/v1/completions", "text/event-stream", "data: {\"choices\":[{\"text\":\"a\"}]}\r\n\r\ndata: {\"choices\":[{\"text\":\"b\",\"finish_reason\":\"stop\"}]}\r\n\r\n",
     "ab", "", RF_OK, RF_FINISH_STOP, 0},
    {"[DONE] without a reason", "text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: [DONE]\n\n", "x", "", RF_OK, RF_FINISH_STOP, 0},
    {"a NUL in the text", "text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"\\u0000\"},\"finish_reason\":\"stop\"}]}\n\n", "", "", RF_OK, RF_FINISH_STOP, 0},
    {"no stream: the whole as JSON", "application/json",
     "{\"choices\":[{\"message\":{\"content\":\"all\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":-5,\"completion_tokens\":99999999999}}", "all", "", RF_OK,
     RF_FINISH_STOP, INT32_MAX},
    {"ends early", "text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n", "x", "", RF_IO, RF_FINISH_NONE, 0},
    {"nothing at all", "text/event-stream", "", "", "", RF_IO, RF_FINISH_NONE, 0},
    {"an error on the way", "text/event-stream",
     "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\ndata: {\"error\":{\"message\":\"out of cheese\",\"code\":500}}\n\n", "x", "", RF_IO, RF_FINISH_NONE, 0},
    {"an error event", "text/event-stream", "event: error\ndata: {\"message\":\"out of cheese\"}\n\n", "", "", RF_IO, RF_FINISH_NONE, 0},
    {"too long", "text/event-stream", "data: {\"error\":{\"message\":\"no\",\"code\":\"context_length_exceeded\"}}\n\n", "", "", RF_TOO_LONG, RF_FINISH_NONE, 0},
    {"no JSON", "text/event-stream", "data: {\"choices\":[{]}\n\n", "", "", RF_CORRUPT, RF_FINISH_NONE, 0},
    {"no object", "text/event-stream", "data: [1]\n\n", "", "", RF_CORRUPT, RF_FINISH_NONE, 0},
    {"not UTF-8", "text/event-stream", "data: {\"choices\":[{\"delta\":{\"content\":\"\xff\"}}]}\n\n", "", "", RF_CORRUPT, RF_FINISH_NONE, 0},
    {"wrong types everywhere", "text/event-stream", "data: {\"choices\":{\"delta\":7},\"usage\":[]}\n\ndata: {\"choices\":[7,{\"delta\":[]}]}\n\n"
     "data: {\"choices\":[{\"delta\":{\"content\":{}}}]}\n\n",
     "", "", RF_IO, RF_FINISH_NONE, 0},
    {"JSON of something else", "application/json", "{\"hello\":1}", "", "", RF_CORRUPT, RF_FINISH_NONE, 0},
    {"a page", "text/html", "<html>", "", "", RF_CORRUPT, RF_FINISH_NONE, 0},
    {"no type", "", "x", "", "", RF_CORRUPT, RF_FINISH_NONE, 0},
};

TEST(answers_of_servers_cut_anywhere)
{
    for (size_t i = 0; i < RF_COUNT(answers); i++) {
        size_t n = strlen(answers[i].body);
        for (size_t cut = 0; cut <= n; cut++) {
            struct seen g = {0};
            struct rf_remote_answer a;
            struct rf_error err;
            rf_status st = read_answer(answers[i].type, answers[i].body, cut, &g, &a, &err);
            if (st != answers[i].st || strcmp(g.text, answers[i].text)) printf("# %s, cut at %zu: %s\n", answers[i].what, cut, err.message);
            CHECK_INT(st, answers[i].st);
            CHECK_STR(g.text, answers[i].text);
            CHECK_STR(g.thought, answers[i].thought);
            if (!st) CHECK_INT(a.finish, answers[i].finish);
            CHECK_INT(a.usage.completion_tokens, answers[i].completion);
            CHECK(!st == !*err.message && !strchr(err.message, '\n'));
            if (strstr(answers[i].body, "cheese")) CHECK(strstr(err.message, "out of cheese"));
        }
    }
}

TEST(a_reader_that_went_away_ends_it)
{
    struct seen g = {.stop = true};
    struct rf_remote_answer a;
    struct rf_error err;
    CHECK_INT(read_answer("text/event-stream", answers[0].body, 10, &g, &a, &err), RF_CANCELLED);
    CHECK_INT(g.n, 1);
}

TEST(a_body_without_end_is_refused)
{
    struct rf_remote_answer a = {0};
    struct rf_remote_sink sink = {on_text, NULL, NULL};
    struct rf_remote_reader r = {.from = "http://h/v1", .sink = &sink, .answer = &a};
    struct rf_error err = {0};
    size_t n = 1 << 20;
    char *blanks = malloc(n);
    memset(blanks, ' ', n);
    rf_status st = rf_remote_reader_start(&r, "application/json", &err);
    for (int i = 0; i < 40 && !st; i++) st = rf_remote_reader_feed(&r, blanks, n, &err);
    CHECK_INT(st, RF_TOO_LARGE);
    CHECK(strstr(err.message, "4194304"));
    rf_remote_reader_release(&r);
    free(blanks);
}

TEST(allocations_fail)
{
    for (size_t i = 0; i < 2; i++) {
        const char *type = i ? "application/json" : "text/event-stream", *body = answers[i ? 5 : 0].body;
        unsigned failed = 0;
        for (uint64_t k = 1; k < 100; k++) {
            struct seen g = {0};
            struct rf_remote_answer a;
            struct rf_error err;
            rf_mem_fail_at(k);
            rf_status st = read_answer(type, body, 20, &g, &a, &err);
            rf_mem_fail_at(0);
            CHECK(st == RF_OK || (st == RF_NOMEM && *err.message));
            failed += st != RF_OK;
        }
        CHECK(failed >= 1 && failed < 90);
    }
}

/* ---- addresses ---- */

static const struct { const char *url, *want; } urls[] = {
    {"http://h:1", "http://h:1/v1"}, {"h:1", "http://h:1/v1"}, {"https://h/", "https://h/v1"}, {"HTTPS://h/v1", "https://h/v1"},
    {"http://h/v1///", "http://h/v1"}, {"https://h/openai/v1/", "https://h/openai/v1"}, {"http://[::1]:80", "http://[::1]:80/v1"},
    {"ftp://h", NULL}, {"http://", NULL}, {"", NULL}, {"http://a b", NULL}, {"http://h/\n", NULL}, {"http://h/v1?x=1", NULL}, {"http://h#x", NULL},
    {"file:///etc/passwd", NULL}, {"http://u:p@h", NULL}, {"http://\xc3\xa4", NULL}, {"://h", NULL},
};

TEST(addresses)
{
    struct rf_remote *r;
    struct rf_error err = {0};
    if (rf_remote_open(&r, "h", NULL, &err) == RF_UNSUPPORTED) SKIP("no libcurl here");
    rf_remote_close(r);
    for (size_t i = 0; i < RF_COUNT(urls); i++) {
        rf_status st = rf_remote_open(&r, urls[i].url, NULL, &err);
        CHECK_INT(st, urls[i].want ? RF_OK : RF_INVALID);
        if (st && urls[i].want) printf("# %s: %s\n", urls[i].url, err.message);
        if (!st) CHECK_STR(rf_remote_url(r), urls[i].want ? urls[i].want : "(refused)");
        if (st) CHECK(!strstr(err.message, "u:p"));
        rf_remote_close(r);
    }
    char *longer = malloc(5000);
    memset(longer, 'a', 4999);
    longer[4999] = 0;
    CHECK_INT(rf_remote_open(&r, longer, NULL, &err), RF_INVALID);
    CHECK_INT(rf_remote_open(&r, "h", longer, &err), RF_INVALID);
    CHECK_INT(rf_remote_open(&r, "h", "two\r\nlines", &err), RF_INVALID);
    CHECK(!strstr(err.message, "two"));
    free(longer);
}

int main(void)
{
    RUN(every_stream_however_it_is_cut);
    RUN(a_nul_is_a_byte_like_any_other);
    RUN(lines_and_events_have_a_most);
    RUN(answers_of_servers_cut_anywhere);
    RUN(a_reader_that_went_away_ends_it);
    RUN(a_body_without_end_is_refused);
    RUN(allocations_fail);
    RUN(addresses);
    return check_end();
}
