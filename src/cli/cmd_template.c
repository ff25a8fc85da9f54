/* cmd_template.c - renders a chat template: a model's, or a Jinja file's. */
#include <stdio.h>
#include <string.h>

#include "base/file.h"
#include "cli/cli.h"

static bool is_jinja(const char *path)
{
    size_t n = strlen(path);
    return (n > 6 && !strcmp(path + n - 6, ".jinja")) || (n > 7 && !strcmp(path + n - 7, ".jinja2"));
}

static rf_status render_file(const char *path, const struct rf_buf *vars, char **text, size_t *n, struct rf_error *err)
{
    struct rf_buf source = {0};
    rf_status s = rf_file_read(&source, path, 16 << 20, err);
    if (!s) s = rf_template_render(rf_buf_str(&source), source.len, rf_buf_str(vars), vars->len, text, n, err);
    rf_buf_release(&source);
    return s;
}

int rf_cli_template(const struct rf_cli *c)
{
    struct rf_buf vars = {0};
    struct rf_error err = {0};
    char *text = NULL;
    size_t n = 0;
    if (!c->messages) {
        fprintf(stderr, "rocmforge: template needs --messages FILE.json\n  See: rocmforge template --help\n");
        return RF_EXIT_USAGE;
    }
    if (!rf_cli_read(strcmp(c->messages, "-") ? c->messages : NULL, &vars)) {
        rf_buf_release(&vars);
        return RF_EXIT_FAILED;
    }
    int code = RF_EXIT_OK;
    rf_status s = RF_OK;
    if (is_jinja(c->arg[0])) {
        s = render_file(c->arg[0], &vars, &text, &n, &err);
    } else {
        struct rf_model *m = rf_cli_open_model(c, RF_OPEN_VOCAB);
        if (!m) {
            rf_buf_release(&vars);
            return RF_EXIT_MODEL;
        }
        s = rf_model_chat(m, rf_buf_str(&vars), vars.len, &text, &n, NULL, NULL, &err);
        rf_model_close(m);
    }
    if (s)
        code = rf_cli_fail(&err, s == RF_NOT_FOUND || s == RF_IO ? RF_EXIT_MODEL : RF_EXIT_FAILED);
    else if (!rf_cli_write(text, n))
        code = RF_EXIT_FAILED;
    rf_free(text);
    rf_buf_release(&vars);
    return code;
}
