/* Configurations as facts, limits of their JSON, side files. */
#include "base/mem.h"
#include "check.h"
#include "ggufmake.h"

static struct rf_weights *open_config(const char *config, struct rf_error *err)
{
    struct rf_weights *w = NULL;
    *err = (struct rf_error){0};
    mk_text("config.json", config);
    rf_weights_open(&w, mk_dir, err);
    return w;
}

static bool str_is(const struct rf_fact *f, const char *want)
{
    return f && f->kind == RF_FACT_STRING && f->str.n == strlen(want) && !memcmp(f->str.s, want, f->str.n);
}

TEST(flattens)
{
    struct rf_error err;
    struct rf_weights *w = open_config(
        "{\"model_type\":\"llama\",\"hidden_size\":64,\"rope_theta\":1e6,\"tie\":true,\"nothing\":null,\"neg\":-3,"
        "\"rope_scaling\":{\"factor\":8.0,\"rope_type\":\"llama3\",\"deeper\":{\"x\":1}},\"empty\":{},\"none\":[],"
        "\"layer_types\":[\"full_attention\",\"sliding\\u005fattention\"],\"eos_token_id\":[1,2],\"mixed\":[1,2.5],"
        "\"odd\":[1,\"a\",null],"
        "\"list\":[{\"name\":\"a\"},{\"name\":\"b\"}],\"emoji\":\"\\ud83d\\ude00\\n\\t\\\"\",\"big\":"
        "9223372036854775807,\"huge\":1e30,"
        "\"inf\":[0.0,Infinity,-Infinity,NaN]}",
        &err);
    CHECK_STR(err.message, "");
    REQUIRE(w);
    int64_t i = 0;
    double d = 0;
    struct rf_str s = {0};
    CHECK_INT(rf_weights_source(w), RF_SOURCE_HF);
    CHECK_INT(rf_weights_n_tensor(w), 0);
    CHECK(str_is(rf_weights_fact(w, "model_type"), "llama"));
    CHECK_INT(rf_weights_fact(w, "hidden_size")->i, 64);
    CHECK_NEAR(rf_weights_fact(w, "hidden_size")->f, 64, 0);
    CHECK_NEAR(rf_weights_fact(w, "rope_theta")->f, 1e6, 0);
    CHECK_INT(rf_weights_fact(w, "rope_theta")->kind, RF_FACT_FLOAT);
    CHECK_INT(rf_weights_fact(w, "tie")->kind, RF_FACT_BOOL);
    CHECK_INT(rf_weights_fact(w, "neg")->i, -3);
    CHECK_INT(rf_weights_fact(w, "big")->i, INT64_MAX);
    CHECK(!rf_weights_fact(w, "nothing") && !rf_weights_fact(w, "empty"));
    CHECK_NEAR(rf_weights_fact(w, "rope_scaling.factor")->f, 8, 0);
    CHECK(str_is(rf_weights_fact(w, "rope_scaling.rope_type"), "llama3"));
    CHECK_INT(rf_weights_fact(w, "rope_scaling.deeper.x")->i, 1);
    CHECK_INT(rf_weights_fact(w, "none")->n_items, 0);
    const struct rf_fact *types = rf_weights_fact(w, "layer_types"), *mixed = rf_weights_fact(w, "mixed"),
                         *odd = rf_weights_fact(w, "odd");
    CHECK_INT(types->item_kind, RF_FACT_STRING);
    CHECK(rf_fact_item_str(types, 1, &s) && s.n == 17 && !memcmp(s.s, "sliding_attention", 17));
    CHECK(rf_fact_item_int(rf_weights_fact(w, "eos_token_id"), 1, &i) && i == 2);
    CHECK_INT(mixed->item_kind, RF_FACT_FLOAT);
    CHECK(rf_fact_item_float(mixed, 0, &d) && d == 1 && rf_fact_item_float(mixed, 1, &d) && d == 2.5);
    CHECK_INT(odd->item_kind, RF_FACT_ARRAY);
    CHECK(rf_fact_item_int(odd, 0, &i) && rf_fact_item_str(odd, 1, &s) && !rf_fact_item_int(odd, 2, &i) &&
          !rf_fact_item_int(odd, 3, &i));
    CHECK(str_is(rf_weights_fact(w, "list.1.name"), "b"));
    CHECK(str_is(rf_weights_fact(w, "emoji"), "\xf0\x9f\x98\x80\n\t\""));
    CHECK(rf_fact_item_float(rf_weights_fact(w, "inf"), 1, &d) && isinf(d));
    rf_weights_close(w);
}

/* The newer spelling comes through; a multimodal configuration's text part stands at the top as well. */
TEST(lifts_text_config)
{
    struct rf_error err;
    struct rf_weights *w = open_config(
        "{\"model_type\":\"gemma3\",\"text_config\":{\"model_type\":\"gemma3_text\",\"hidden_size\":640,"
        "\"rope_parameters\":{\"full_attention\":{\"rope_theta\":1000000.0}}},\"vision_config\":{\"hidden_size\":1}}",
        &err);
    REQUIRE(w);
    CHECK(str_is(rf_weights_fact(w, "model_type"), "gemma3"));
    CHECK(str_is(rf_weights_fact(w, "text_config.model_type"), "gemma3_text"));
    CHECK_INT(rf_weights_fact(w, "hidden_size")->i, 640);
    CHECK_NEAR(rf_weights_fact(w, "rope_parameters.full_attention.rope_theta")->f, 1e6, 0);
    rf_weights_close(w);
}

TEST(prefixes_other_files)
{
    struct rf_error err;
    struct rf_buf b = {0};
    mk_text("generation_config.json", "{\"temperature\":0.7,\"eos_token_id\":[151645,151643]}");
    mk_text("tokenizer_config.json", "{\"chat_template\":\"{{ x }}\\n\",\"add_bos_token\":false,"
                                     "\"added_tokens_decoder\":{\"0\":{\"content\":\"<pad>\",\"special\":true}}}");
    struct rf_weights *w = open_config("{\"hidden_size\":64}", &err);
    CHECK_STR(err.message, "");
    REQUIRE(w);
    CHECK_NEAR(rf_weights_fact(w, "generation_config.temperature")->f, 0.7, 0);
    CHECK(str_is(rf_weights_fact(w, "tokenizer_config.chat_template"), "{{ x }}\n"));
    CHECK(str_is(rf_weights_fact(w, "tokenizer_config.added_tokens_decoder.0.content"), "<pad>"));
    rf_weights_close(w);
    rf_buf_puts(&b, "{\"added_tokens_decoder\":{");
    for (int i = 0; i < 4000; i++)
        rf_buf_printf(&b, "%s\"%d\":{\"content\":\"<%d>\",\"special\":true}", i ? "," : "", i, i);
    rf_buf_puts(&b, "},\"chat_template\":[{\"name\":\"default\",\"template\":\"T\"}]}");
    mk_write("tokenizer_config.json", b.data, b.len);
    w = open_config("{\"hidden_size\":64}", &err);
    REQUIRE(w);
    CHECK(!rf_weights_fact(w, "tokenizer_config.added_tokens_decoder.0.content"));
    CHECK(str_is(rf_weights_fact(w, "tokenizer_config.chat_template.0.template"), "T"));
    rf_weights_close(w);
    rf_buf_release(&b);
    mk_remove("generation_config.json");
    mk_remove("tokenizer_config.json");
}

static const struct { const char *config; rf_status want; const char *says; } bad[] = {
    {"", RF_CORRUPT, "an object"},
    {"[]", RF_CORRUPT, "an object"},
    {"7", RF_CORRUPT, "an object"},
    {"{} {}", RF_CORRUPT, "the end"},
    {"{\"a\":1,\"a\":2}", RF_CORRUPT, "\"a\" stands twice"},
    {"{\"a\":null,\"a\":2}", RF_CORRUPT, "\"a\" stands twice"},
    {"{\"a\":{\"b\":1},\"a\":{\"c\":2}}", RF_CORRUPT, "\"a\" stands twice"},
    {"{\"a\":{\"b\":1,\"b\":2}}", RF_CORRUPT, "\"a.b\" stands twice"},
    {"{\"a\":1e400}", RF_CORRUPT, "fits a double"},
    {"{\"a\":01}", RF_CORRUPT, "leading zeros"},
    {"{\"a\":1.}", RF_CORRUPT, "a digit"},
    {"{\"a\":1e}", RF_CORRUPT, "a digit"},
    {"{\"a\":-}", RF_CORRUPT, "number"},
    {"{\"a\":+1}", RF_CORRUPT, "a value"},
    {"{\"a\":nul}", RF_CORRUPT, "null"},
    {"{\"a\":tru}", RF_CORRUPT, "true or false"},
    {"{\"a\":Infinit}", RF_CORRUPT, "number"},
    {"{\"a\":[1,]}", RF_CORRUPT, "a value"},
    {"{\"a\":[1 2]}", RF_CORRUPT, "',' or ']'"},
    {"{\"a\" 1}", RF_CORRUPT, "':'"},
    {"{\"a\":1,}", RF_CORRUPT, "a string"},
    {"{\"a\":\"\\ud800x\"}", RF_CORRUPT, "surrogate"},
    {"{\"a\":\"\\udc00\"}", RF_CORRUPT, "surrogate"},
    {"{\"a\":\"\\u12g4\"}", RF_CORRUPT, "escape"},
    {"{\"a\":\"\\", RF_CORRUPT, "end of a string"},
    {"{\"a\":\"\xc0\xaf\"}", RF_CORRUPT, "UTF-8"},
    {"\xef\xbb\xbf{}", RF_CORRUPT, "an object"},
    {"{\"a\":[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]}", RF_TOO_LARGE, "nested deeper"},
};

TEST(refuses_bad_configs)
{
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct rf_error err;
        struct rf_weights *w = open_config(bad[i].config, &err);
        if (w || err.status != bad[i].want || !strstr(err.message, bad[i].says) || !strstr(err.message, "config.json"))
            CHECK_FAIL_("%s: got %s \"%s\", want \"%s\"", bad[i].config, rf_status_name(err.status), err.message,
                        bad[i].says);
        rf_weights_close(w);
    }
}

/* Long, deep and wide ones end at a limit, quickly. */
TEST(bounded)
{
    static const char *const unit[] = {"[", "{\"a\":", "0,", "\"x\",", "\"aaaa\":{\"", "\\u0041"};
    for (size_t i = 0; i < sizeof unit / sizeof *unit; i++) {
        struct rf_buf b = {0};
        struct rf_error err;
        rf_buf_puts(&b, i < 2 ? "{\"a\":" : i == 4 ? "{" : i == 5 ? "{\"a\":\"" : "{\"a\":[");
        while (b.len < 8 << 20) rf_buf_puts(&b, unit[i]);
        double t = mk_cpu();
        struct rf_weights *w = open_config(b.data, &err);
        t = mk_cpu() - t;
        CHECK(!w && *err.message);
        if (t > MK_LIMIT) CHECK_FAIL_("%s: %.3f s", unit[i], t);
        rf_buf_release(&b);
    }
    struct rf_error err;
    struct rf_buf b = {0};
    rf_buf_puts(&b, "{\"a\":\"");
    while (b.len < 17 << 20) rf_buf_puts(&b, "aaaaaaaaaaaaaaaa");
    CHECK(!open_config(b.data, &err));
    CHECK_INT(err.status, RF_TOO_LARGE);
    rf_buf_release(&b);
    mk_text("config.json", "{}");
}

TEST(side_files)
{
    struct rf_error err;
    struct rf_buf b = {0};
    struct rf_weights *w = open_config("{}", &err);
    REQUIRE(w);
    mk_text("tokenizer.json", "{\"x\":1}");
    CHECK_INT(rf_weights_read_side_file(w, "tokenizer.json", &b, &err), RF_OK);
    CHECK_STR(rf_buf_str(&b), "{\"x\":1}");
    CHECK_INT(rf_weights_read_side_file(w, "chat_template.jinja", &b, &err), RF_NOT_FOUND);
    static const char *const names[] = {"../x", "/etc/passwd", "..", ".", "", "a/b"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        CHECK_INT(rf_weights_read_side_file(w, names[i], &b, &err), RF_INVALID);
    REQUIRE(!mkfifo(mk_path("chat_template.json"), 0600));
    CHECK_INT(rf_weights_read_side_file(w, "chat_template.json", &b, &err), RF_INVALID);
    rf_weights_close(w);
    rf_buf_release(&b);
    mk_remove("chat_template.json");
    mk_remove("tokenizer.json");
}

TEST(folders_without_a_model)
{
    struct rf_error err;
    mkdir(mk_path("sub"), 0700);
    CHECK_INT(mk_open(mk_path("sub"), &err, NULL), RF_NOT_FOUND);
    mk_text("sub/pytorch_model.bin", "PK");
    mk_text("sub/config.json", "{}");
    CHECK_INT(mk_open(mk_path("sub"), &err, NULL), RF_UNSUPPORTED);
    CHECK(strstr(err.message, "pytorch_model"));
    mk_remove("sub/pytorch_model.bin");
    CHECK_INT(mk_open(mk_path("sub"), &err, NULL), RF_OK);
    mk_remove("sub/config.json");
    mkdir(mk_path("sub/config.json"), 0700);
    CHECK_INT(mk_open(mk_path("sub"), &err, NULL), RF_INVALID);
}

TEST(allocation_torture)
{
    struct rf_error err;
    mk_text("config.json", "{\"a\":[1,2,{\"b\":\"\\n\"}],\"c\":{\"d\":\"e\"},\"text_config\":{\"f\":1}}");
    bool done = false;
    for (uint64_t k = 1; k < 300 && !done; k++) {
        rf_mem_fail_at(k);
        rf_status s = mk_open(mk_dir, &err, NULL);
        rf_mem_fail_at(0);
        done = !s;
        if (s && s != RF_NOMEM) CHECK_FAIL_("allocation %d: %s \"%s\"", (int)k, rf_status_name(s), err.message);
    }
    CHECK(done);
}

int main(void)
{
    mk_dir_begin();
    RUN(flattens);
    RUN(lifts_text_config);
    RUN(prefixes_other_files);
    RUN(refuses_bad_configs);
    RUN(side_files);
    RUN(folders_without_a_model);
    RUN(allocation_torture);
    RUN(bounded);
    mk_dir_end();
    return check_end();
}
