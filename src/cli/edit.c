#include "cli/edit.h"

#include <histedit.h>
#include <locale.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <wchar.h>

#include "base/buf.h"
#include "base/mem.h"

enum { HISTORY = 1000, PASTE_MAX = 1 << 20 };

struct rf_edit {
    EditLine *el;
    History *history;
    char *path;
    char prompt[64];
    const char *const *words;
    bool colour, paste, cancelled; /* paste: the terminal marks pastes */
    struct rf_buf line;
};

static struct rf_edit *self(EditLine *el)
{
    void *p = NULL;
    el_get(el, EL_CLIENTDATA, &p);
    return p;
}

static char *prompt(EditLine *el) { return self(el)->prompt; }

static unsigned char on_cancel(EditLine *el, int ch)
{
    (void)ch;
    self(el)->cancelled = true;
    return CC_EOF;
}

static unsigned char on_newline(EditLine *el, int ch)
{
    (void)ch;
    return el_insertstr(el, "\n") ? CC_ERROR : CC_REFRESH;
}

static unsigned char on_suspend(EditLine *el, int ch)
{
    (void)el;
    (void)ch;
    raise(SIGTSTP); /* libedit's handler gives the terminal back first */
    return CC_REFRESH;
}

/* Behind ESC [ 200 ~: everything up to ESC [ 201 ~ is text, line ends too. */
static unsigned char on_paste(EditLine *el, int ch)
{
    static const wchar_t end[] = L"\033[201~";
    wchar_t c, *text = NULL;
    size_t n = 0, cap = 0;
    (void)ch;
    while (n < PASTE_MAX && el_wgetc(el, &c) == 1) {
        if (n + 2 > cap) {
            wchar_t *p = rf_realloc_array(text, cap = cap ? cap * 2 : 256, sizeof *p);
            if (!p) break;
            text = p;
        }
        text[n++] = c == L'\r' ? L'\n' : c == L'\t' ? L' ' : c;
        size_t k = wcslen(end);
        if (n >= k && !wmemcmp(text + n - k, end, k)) {
            n -= k;
            break;
        }
    }
    bool ok = true;
    if (text) {
        text[n] = 0;
        while (n && text[n - 1] == L'\n') text[--n] = 0; /* Enter ends the input, not the paste */
        ok = !n || !el_winsertstr(el, text);
    }
    rf_free(text);
    return ok ? CC_REFRESH : CC_ERROR;
}

static unsigned char on_tab(EditLine *el, int ch)
{
    const struct rf_edit *e = self(el);
    const LineInfo *l = el_line(el);
    size_t n = (size_t)(l->cursor - l->buffer), n_hit = 0, common = 0;
    const char *hit = NULL;
    (void)ch;
    for (size_t i = 0; n && l->buffer[0] == '/' && e->words[i]; i++) {
        if (strncmp(e->words[i], l->buffer, n)) continue;
        if (!n_hit++) common = strlen(hit = e->words[i]);
        else while (common > n && strncmp(hit, e->words[i], common)) common--;
    }
    char rest[64];
    if (!hit || common <= n || (size_t)snprintf(rest, sizeof rest, "%.*s%s", (int)(common - n), hit + n, n_hit == 1 ? " " : "") >= sizeof rest)
        return CC_REFRESH_BEEP;
    return el_insertstr(el, rest) ? CC_ERROR : CC_REFRESH;
}

static void bind_keys(EditLine *el)
{
    /* Wide strings: what the narrow call is given it copies, and never frees. */
    static const struct { const wchar_t *name, *help; unsigned char (*fn)(EditLine *, int); const wchar_t *keys[2]; } rows[] = {
        {L"rf-cancel", L"give the line up", on_cancel, {L"^C"}},
        {L"rf-newline", L"break the line", on_newline, {L"\033\n", L"\033\r"}},
        {L"rf-suspend", L"stop the program", on_suspend, {L"^Z"}},
        {L"rf-paste", L"insert a paste", on_paste, {L"\033[200~"}},
        {L"rf-complete", L"complete a command", on_tab, {L"\t"}},
    };
    static const struct { const char *key, *fn; } keys[] = {
        {"\033[3~", "ed-delete-next-char"}, {"\033[1;5C", "em-next-word"}, {"\033[1;5D", "ed-prev-word"}, {"\033[H", "ed-move-to-beg"},
        {"\033[F", "ed-move-to-end"}, {"\033[1~", "ed-move-to-beg"}, {"\033[4~", "ed-move-to-end"}, {"^R", "em-inc-search-prev"}};
    el_set(el, EL_SETTY, "-d", "-isig", NULL); /* while a line is edited, Ctrl-C is a key */
    for (size_t i = 0; i < RF_COUNT(rows); i++) {
        el_wset(el, EL_ADDFN, rows[i].name, rows[i].help, rows[i].fn);
        for (size_t k = 0; k < 2 && rows[i].keys[k]; k++) el_wset(el, EL_BIND, rows[i].keys[k], rows[i].name, NULL);
    }
    for (size_t i = 0; i < RF_COUNT(keys); i++) el_set(el, EL_BIND, keys[i].key, keys[i].fn, NULL);
}

struct rf_edit *rf_edit_open(const char *path, bool colour, const char *const *words)
{
    HistEvent ev;
    const char *term = getenv("TERM");
    setlocale(LC_CTYPE, "");
    if (MB_CUR_MAX == 1) setlocale(LC_CTYPE, "C.UTF-8"); /* models speak UTF-8 wherever they run */
    struct rf_edit *e = rf_alloc_array(1, sizeof *e);
    if (!e) return NULL;
    e->colour = colour;
    e->words = words;
    e->paste = term && *term && strcmp(term, "dumb") != 0;
    e->path = path ? rf_strdup(path) : NULL;
    e->el = el_init("rocmforge", stdin, stdout, stderr);
    e->history = history_init();
    if (!e->el || !e->history) {
        rf_edit_close(e);
        return NULL;
    }
    history(e->history, &ev, H_SETSIZE, HISTORY);
    history(e->history, &ev, H_SETUNIQUE, 1);
    if (e->path) history(e->history, &ev, H_LOAD, e->path);
    el_set(e->el, EL_CLIENTDATA, e);
    el_set(e->el, EL_SIGNAL, 1);
    el_set(e->el, EL_EDITOR, "emacs");
    el_set(e->el, EL_HIST, history, e->history);
    el_set(e->el, EL_PROMPT_ESC, prompt, '\1');
    bind_keys(e->el);
    el_source(e->el, NULL); /* ~/.editrc */
    return e;
}

void rf_edit_close(struct rf_edit *e)
{
    if (!e) return;
    if (e->el) el_end(e->el);
    if (e->history) history_end(e->history);
    rf_buf_release(&e->line);
    rf_free(e->path);
    rf_free(e);
}

enum rf_edit_end rf_edit_read(struct rf_edit *e, const char *text, const char **line)
{
    int n = 0;
    *line = NULL;
    /* the blank is outside: libedit drops an escape that no character follows */
    snprintf(e->prompt, sizeof e->prompt, e->colour ? "\1\033[1;34m\1%s\1\033[0m\1 " : "%s ", text);
    e->cancelled = false;
    if (e->paste) fputs("\033[?2004h", stdout);
    fflush(stdout);
    const char *got = el_gets(e->el, &n);
    if (e->paste) fputs("\033[?2004l", stdout);
    if (e->cancelled || !got || n <= 0) {
        fputs(e->cancelled ? "^C\n" : "\n", stdout);
        fflush(stdout);
        return e->cancelled ? RF_EDIT_CANCEL : RF_EDIT_EOF;
    }
    fflush(stdout);
    size_t len = strlen(got);
    if (len && got[len - 1] == '\n') len--;
    rf_buf_clear(&e->line);
    if (rf_buf_append(&e->line, got, len)) return RF_EDIT_CANCEL;
    *line = rf_buf_str(&e->line);
    return RF_EDIT_LINE;
}

void rf_edit_remember(struct rf_edit *e, const char *text)
{
    HistEvent ev;
    if (!*text) return;
    history(e->history, &ev, H_ENTER, text);
    if (!e->path) return;
    mode_t old = umask(077); /* what somebody typed is nobody else's */
    history(e->history, &ev, H_SAVE, e->path);
    umask(old);
}
