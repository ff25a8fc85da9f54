/* routes.c - the table of routes. */
#include <string.h>

#include "serve/internal.h"

#define GET_ALLOW "GET, HEAD, OPTIONS"
#define POST_ALLOW "POST, OPTIONS"
enum {
    GETS = RF_GET | RF_HEAD,
    GEN = RF_ROUTE_MODEL | RF_ROUTE_WORK | RF_ROUTE_GEN,
    WORK = RF_ROUTE_MODEL | RF_ROUTE_WORK
};

static const struct rf_route routes[] = {
    {"/v1/chat/completions", RF_POST, POST_ALLOW, GEN, rf_serve_chat_run},
    {"/v1/completions", RF_POST, POST_ALLOW, GEN, rf_serve_completions_run},
    {"/v1/models", GETS, GET_ALLOW, RF_ROUTE_DISK, rf_serve_models_run},
    {"/v1/models/", GETS, GET_ALLOW, RF_ROUTE_DISK | RF_ROUTE_PREFIX, rf_serve_model_run},
    {"/tokenize", RF_POST, POST_ALLOW, WORK, rf_serve_tokenize_run},
    {"/detokenize", RF_POST, POST_ALLOW, WORK, rf_serve_detokenize_run},
    {"/health", GETS, GET_ALLOW, RF_ROUTE_OPEN, rf_serve_health_run},
    {"/version", GETS, GET_ALLOW, 0, rf_serve_version_run},
    {"/metrics", GETS, GET_ALLOW, RF_ROUTE_METRICS, rf_serve_metrics_run},
    {"/", GETS, GET_ALLOW, RF_ROUTE_OPEN, rf_serve_page_run},
    {"/web/", GETS, GET_ALLOW, RF_ROUTE_OPEN | RF_ROUTE_PREFIX, rf_serve_web_run},
};
_Static_assert(RF_COUNT(routes) <= RF_SERVE_ROUTES_MAX, "more routes than counters");

const struct rf_route *rf_serve_route_find(const char *path, const char **rest)
{
    *rest = NULL;
    for (size_t i = 0; i < RF_COUNT(routes); i++) {
        const struct rf_route *r = &routes[i];
        size_t n = strlen(r->path);
        if (!(r->flags & RF_ROUTE_PREFIX)) {
            if (!strcmp(path, r->path)) return r;
        } else if (!strncmp(path, r->path, n) && path[n]) {
            *rest = path + n;
            return r;
        }
    }
    return NULL;
}

size_t rf_serve_route_index(const struct rf_route *r) { return r ? (size_t)(r - routes) : RF_COUNT(routes); }
size_t rf_serve_route_count(void) { return RF_COUNT(routes); }
const struct rf_route *rf_serve_route_at(size_t i) { return &routes[i]; }
