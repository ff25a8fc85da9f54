/* Opening, describing and asking a model, without an engine, against the toy of fake_model.h. */
#include "base/mem.h"
#include "check.h"
#include "fake_model.h"

static struct rf_error err;

TEST(model_facts)
{
    struct rf_model_info info;
    struct rf_sampling s;
    struct rf_model_options meta = {.flags = RF_OPEN_META}, vocab = {.flags = RF_OPEN_VOCAB},
                            bad = {.chat_template = "bad"};
    struct rf_engine *engine;
    struct rf_model *m;
    char *json, *text;
    size_t n, n_ids;
    int32_t *ids;
    CHECK_INT(rf_model_open(&m, "missing", NULL, &err), RF_NOT_FOUND);
    CHECK(!m);
    CHECK_INT(rf_model_open(&m, "toy", &bad, &err), RF_INVALID);
    REQUIRE(!rf_model_open(&m, "dir/toy.gguf", &meta, &err));
    rf_model_info_get(m, &info);
    CHECK_STR(info.name, "Toy");
    CHECK_STR(info.architecture, "toy");
    CHECK_INT(info.n_ctx_train, 77);
    CHECK(!info.has_weights && info.has_template);
    CHECK_INT(rf_model_tokenize(m, "a", 1, 0, &ids, &n, &err), RF_UNSUPPORTED);
    REQUIRE(!rf_model_describe(m, true, &json, &err));
    CHECK(strstr(json, "\"n_ctx_train\":77") && strstr(json, "\"name\":\"blk.0.\\\"x\\\"\\n\"") &&
          strstr(json, "\"bad\xef\xbf\xbd\":null"));
    rf_free(json);
    rf_model_sampling_default(m, &s);
    CHECK(s.temperature == 0.5f && s.top_k == 20 && s.top_p == 1.0f); /* top_p 7 is nonsense */
    rf_model_close(m);
    REQUIRE(!rf_model_open(&m, "toy", &vocab, &err));
    CHECK_INT(rf_engine_create(&engine, m, NULL, &err), RF_INVALID);
    CHECK(!rf_model_tokenize(m, "a</s>", 5, RF_TOK_ADD_SPECIAL | RF_TOK_PARSE_SPECIAL, &ids, &n, &err) && n == 3 &&
          ids[2] == FAKE_EOS);
    CHECK(!rf_model_detokenize(m, ids, n, true, &text, &n, &err));
    CHECK_STR(text, "a");
    rf_free(text);
    rf_free(ids);
    ids = (int32_t[]){-1};
    CHECK_INT(rf_model_detokenize(m, ids, 1, true, &text, &n, &err), RF_INVALID);
    CHECK(!rf_model_token_bytes(m, 1 << 20, &n) && n == 0);
    const char *chat = "{\"messages\":[{\"role\":\"user\",\"content\":\"<s></s>\"}],\"bos_token\":\"x\"}";
    REQUIRE(!rf_model_chat(m, chat, strlen(chat), &text, &n, &ids, &n_ids, &err));
    CHECK(strstr(text, "\"bos_token\":\"<s>\"") && strstr(text, "\"eos_token\":\"</s>\""));
    CHECK(ids[0] == FAKE_BOS && ids[1] == '{'); /* not twice */
    for (size_t i = 1; i < n_ids; i++) CHECK(ids[i] < 256); /* nothing of the messages is special */
    rf_free(text);
    rf_free(ids);
    CHECK_INT(rf_model_chat(m, "[]", 2, &text, &n, NULL, NULL, &err), RF_INVALID);
    CHECK_INT(rf_model_chat(m, "{}", 2, &text, &n, NULL, NULL, &err), RF_INVALID);
    CHECK_INT(rf_model_chat(m, "{", 1, &text, &n, NULL, NULL, &err), RF_INVALID);
    rf_model_close(m);
    CHECK(!rf_template_render("x", 1, "{}", 2, &text, &n, &err));
    CHECK_STR(text, "<s>{}");
    rf_free(text);
}

/* How a request ends, and after how many tokens. */
static rf_status end_of(struct rf_engine *e, uint64_t id, size_t *n_tok)
{
    struct rf_event *ev;
    rf_status st = RF_OK;
    for (bool last = false; !last; rf_event_free(ev)) {
        if ((st = rf_engine_poll(e, id, 20000, &ev))) return st;
        *n_tok += ev->n_tokens;
        last = ev->kind == RF_EVENT_DONE || ev->kind == RF_EVENT_ERROR;
        st = ev->error ? ev->error->status : RF_OK;
    }
    return st;
}

/* Two models, one of which loses its file while requests run and wait: theirs end, the other's do not notice. */
TEST(changed_file)
{
    struct rf_engine_options o = {.max_seqs = 2, .kv_blocks = 64};
    struct rf_model *m[2];
    struct rf_engine *e[2];
    struct rf_request q[6];
    uint64_t id[6], other;
    fake_shape = (struct fake_shape){1, {0, 0}, 512};
    for (int i = 0; i < 2; i++)
        REQUIRE(!rf_model_open(&m[i], i ? "toy" : "victim", NULL, &err) && !rf_engine_create(&e[i], m[i], &o, &err));
    for (int k = 0; k < 6; k++) {
        q[k] = (struct rf_request){.text = "abc", .text_len = 3};
        rf_sampling_default(&q[k].sampling);
        q[k].sampling.max_tokens = 60;
        q[k].sampling.ignore_eos = true;
        q[k].sampling.temperature = 0; /* the toy's poison token may be drawn otherwise, and ends a request */
    }
    CHECK(!rf_model_check(m[0], &err));
    fake.gate = true;
    REQUIRE(!rf_engine_submit(e[0], q, 6, id, &err) && !rf_engine_submit(e[1], q, 1, &other, &err));
    fake.changed = true;
    fake.gate = false;
    size_t n = 0;
    for (int k = 0; k < 6; k++) CHECK_INT(end_of(e[0], id[k], &n), RF_IO);
    CHECK_INT(n, 0);
    CHECK(!end_of(e[1], other, &n) && n == 60);
    CHECK_INT(rf_model_check(m[0], &err), RF_IO);
    CHECK_INT(rf_engine_submit(e[0], q, 1, id, &err), RF_IO);
    fake.changed = false; /* what was computed in between is not forgotten */
    CHECK_INT(rf_engine_submit(e[0], q, 1, id, &err), RF_IO);
    CHECK(!rf_model_check(m[1], &err) && !rf_engine_submit(e[1], q, 1, &other, &err) && !end_of(e[1], other, &n));
    CHECK_INT(n, 120);
    for (int i = 0; i < 2; i++) {
        rf_engine_free(e[i]);
        rf_model_close(m[i]);
    }
    fake.changed = true;
    CHECK_INT(rf_model_open(&m[0], "victim", NULL, &err), RF_IO); /* changed while it was loaded */
    fake.changed = false;
}

static struct rf_model *advised(const char *system, const char *sampling, const char *messages)
{
    struct rf_model_options o = {.flags = RF_OPEN_VOCAB, .system = system, .sampling = sampling, .messages = messages};
    struct rf_model *m = NULL;
    rf_model_open(&m, "toy", &o, &err);
    return m;
}

TEST(numbers_that_the_caller_advises)
{
    static const struct { const char *sampling; int32_t max_tokens; bool has_seed; uint64_t seed; } row[] = {
        {"{}", -1, false, 0}, {"{\"num_predict\":7,\"seed\":5,\"num_ctx\":33}", 7, true, 5},
        {"{\"num_predict\":-1,\"seed\":-1}", -2, false, 0}, {"{\"num_predict\":-2,\"seed\":0}", -2, true, 0},
        {"{\"num_predict\":0,\"seed\":\"5\",\"num_ctx\":-4}", -1, false, 0}, {"{\"num_predict\":99999999999,\"num_ctx\":99999999999}", INT32_MAX, false, 0},
        {"{\"num_predict\":1.5,\"seed\":null}", -1, false, 0}};
    for (size_t i = 0; i < RF_COUNT(row); i++) {
        struct rf_sampling s;
        struct rf_model *m = advised(NULL, row[i].sampling, NULL);
        REQUIRE(m);
        rf_model_sampling_default(m, &s);
        CHECK_INT(s.max_tokens, row[i].max_tokens);
        CHECK(s.has_seed == row[i].has_seed && s.seed == row[i].seed);
        rf_model_close(m);
    }
}

#define SAID(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

TEST(messages_that_the_caller_begins_with)
{
    static const char *const wrong[] = {"", "{}", "[", "[1]", "[{}]", "[" SAID("tool", "x") "]", "[{\"role\":\"user\",\"content\":[]}]", "[{\"role\":7,\"content\":\"x\"}]"};
    static const struct { const char *system, *first, *chat, *want; } row[] = {
        {"S", "[]", SAID("user", "hi"), SAID("system", "S") "," SAID("user", "hi")},
        {"S", "[" SAID("user", "q") "," SAID("assistant", "a") "]", SAID("user", "hi"),
         SAID("system", "S") "," SAID("user", "q") "," SAID("assistant", "a") "," SAID("user", "hi")},
        {NULL, "[" SAID("system", "T") "," SAID("user", "q") "]", SAID("user", "hi"), SAID("system", "T") "," SAID("user", "q") "," SAID("user", "hi")},
        {"S", "[" SAID("system", "T") "," SAID("user", "q") "]", SAID("user", "hi"), SAID("system", "S") "," SAID("user", "q") "," SAID("user", "hi")},
        {"S", "[" SAID("system", "T") "," SAID("user", "q") "]", SAID("developer", "O") "," SAID("user", "hi"),
         SAID("developer", "O") "," SAID("user", "q") "," SAID("user", "hi")},
        {NULL, "[{\"role\":\"user\",\"images\":[1],\"content\":\"q\"}]", "", SAID("user", "q")},
    };
    for (size_t i = 0; i < RF_COUNT(wrong); i++) {
        CHECK(!advised(NULL, NULL, wrong[i]));
        CHECK(err.status == RF_INVALID && !strcmp(err.param, "messages"));
    }
    for (size_t i = 0; i < RF_COUNT(row); i++) {
        char chat[256], want[300], *text;
        size_t n;
        struct rf_model_info info;
        struct rf_model *m = advised(row[i].system, NULL, row[i].first);
        REQUIRE(m);
        snprintf(chat, sizeof chat, "{\"messages\":[%s]}", row[i].chat);
        snprintf(want, sizeof want, "\"messages\":[%s]", row[i].want);
        for (int again = 0; again < 2; again++) { /* the model's own list stays as it is */
            REQUIRE(!rf_model_chat(m, chat, strlen(chat), &text, &n, NULL, NULL, &err));
            CHECK(strstr(text, want));
            rf_free(text);
        }
        rf_model_info_get(m, &info);
        CHECK((info.messages[0] == '[') == (i > 0) && !strstr(info.messages, "images"));
        rf_model_close(m);
    }
}

int main(void)
{
    RUN(numbers_that_the_caller_advises);
    RUN(messages_that_the_caller_begins_with);
    RUN(model_facts);
    RUN(changed_file);
    return check_end();
}
