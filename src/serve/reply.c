/* reply.c - errors as OpenAI's clients know them. */
#include <stdarg.h>
#include <string.h>

#include "serve/events.h"
#include "serve/json.h"

static const struct { unsigned status; const char *type; } types[] = {
    {400, "invalid_request_error"}, {401, "invalid_request_error"}, {403, "permission_error"},
    {404, "invalid_request_error"}, {405, "invalid_request_error"}, {408, "timeout_error"},
    {413, "invalid_request_error"}, {415, "invalid_request_error"}, {429, "rate_limit_error"},
    {431, "invalid_request_error"}, {500, "server_error"},          {503, "server_error"},
};

/* What our own statuses are called in error.code, and the answer's status where it is not rf_status_http's. */
static const struct { rf_status status; const char *code; unsigned http; } codes[] = {
    {RF_FULL, "queue_full", 0},       {RF_TOO_LONG, "context_length_exceeded", 0}, {RF_UNSUPPORTED, "unsupported", 0},
    {RF_SHUTDOWN, "shutting_down", 0}, {RF_DEADLINE, "deadline_exceeded", 0},       {RF_NOMEM, "out_of_memory", 0},
    {RF_DEVICE, "device_error", 0},   {RF_NUMERIC, "numeric_error", 0},             {RF_INTERNAL, "internal_error", 0},
    {RF_CANCELLED, "cancelled", 503}, {RF_IO, "io_error", 0},
};

void rf_serve_error_json(struct rf_buf *out, unsigned status, const char *param, const char *code, const char *message)
{
    const char *type = status < 500 ? "invalid_request_error" : "server_error";
    for (size_t i = 0; i < RF_COUNT(types); i++)
        if (types[i].status == status) type = types[i].type;
    rf_buf_puts(out, "{\"error\":{\"message\":");
    rf_serve_json_cstr(out, message);
    rf_buf_printf(out, ",\"type\":\"%s\",\"param\":", type);
    rf_serve_json_cstr(out, param && *param ? param : NULL);
    rf_buf_puts(out, ",\"code\":");
    rf_serve_json_cstr(out, code);
    rf_buf_puts(out, "}}");
}

unsigned rf_serve_error_status(const struct rf_error *err, const char **code)
{
    unsigned http = (unsigned)rf_status_http(err->status);
    *code = NULL;
    for (size_t i = 0; i < RF_COUNT(codes); i++) {
        if (codes[i].status != err->status) continue;
        *code = codes[i].code;
        if (codes[i].http) http = codes[i].http;
    }
    return http;
}

void rf_serve_error_event(struct rf_buf *out, const struct rf_error *err)
{
    const char *code;
    unsigned status = rf_serve_error_status(err, &code);
    rf_serve_error_json(out, status, err->param, code, err->message[0] ? err->message : rf_status_name(err->status));
}

static void fill(struct rf_reply *r, unsigned status, const char *param, const char *code, const char *message)
{
    rf_buf_release(&r->body);
    r->status = status;
    r->type = "application/json";
    r->retry_after = status == 503 || status == 429 ? 1 : 0;
    r->final = status != 503 && status != 429 && (status < 500 || (code && !strcmp(code, "numeric_error")));
    rf_serve_error_json(&r->body, status, param, code, message);
}

void rf_serve_reply_error(struct rf_reply *r, unsigned status, const char *param, const char *code, const char *fmt,
                          ...)
{
    char message[768];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(message, sizeof message, fmt, ap);
    va_end(ap);
    fill(r, status, param, code, message);
}

void rf_serve_reply_status(struct rf_reply *r, const struct rf_error *err)
{
    const char *code;
    unsigned status = rf_serve_error_status(err, &code);
    fill(r, status, err->param, code, err->message[0] ? err->message : rf_status_name(err->status));
}
