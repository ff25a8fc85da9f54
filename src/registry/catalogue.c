/* catalogue.c - remembered headers in SQLite. Every failure means "not remembered": the listing goes on without. */
#include <errno.h>
#include <sqlite3.h>
#include <string.h>

#include "base/mem.h"
#include "registry/internal.h"

struct rf_catalogue {
    sqlite3 *db;
    sqlite3_stmt *get, *put;
};

/* The number rises when what a header means changes: old rows are thrown away then. */
enum { VERSION = 1 };

static bool prepare(struct rf_catalogue *c)
{
    static const char create[] =
        "CREATE TABLE IF NOT EXISTS header (dev INTEGER, inode INTEGER, size INTEGER, mtime INTEGER, kind INTEGER, context INTEGER,"
        " bytes INTEGER, architecture TEXT, quantization TEXT, note TEXT, PRIMARY KEY (dev, inode)) WITHOUT ROWID;";
    sqlite3_stmt *st = NULL;
    int version = 0;
    sqlite3_busy_timeout(c->db, 200);
    if (sqlite3_exec(c->db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;", NULL, NULL, NULL)) return false;
    if (sqlite3_prepare_v2(c->db, "PRAGMA user_version", -1, &st, NULL) == SQLITE_OK && sqlite3_step(st) == SQLITE_ROW)
        version = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    if (version != VERSION) {
        sqlite3_exec(c->db, "DROP TABLE IF EXISTS header", NULL, NULL, NULL);
        char set[64] = "PRAGMA user_version=";
        set[strlen(set)] = '0' + VERSION;
        if (sqlite3_exec(c->db, set, NULL, NULL, NULL)) return false;
    }
    return !sqlite3_exec(c->db, create, NULL, NULL, NULL) &&
           !sqlite3_prepare_v2(c->db, "SELECT kind, context, bytes, architecture, quantization, note FROM header"
                                      " WHERE dev=? AND inode=? AND size=? AND mtime=?", -1, &c->get, NULL) &&
           !sqlite3_prepare_v2(c->db, "INSERT OR REPLACE INTO header (dev, inode, size, mtime, kind, context, bytes, architecture,"
                                      " quantization, note) VALUES (?,?,?,?,?,?,?,?,?,?)", -1, &c->put, NULL) &&
           !sqlite3_exec(c->db, "BEGIN", NULL, NULL, NULL);
}

rf_status rf_catalogue_open(struct rf_catalogue **out, const char *path)
{
    *out = NULL;
    struct rf_catalogue *c = rf_alloc_array(1, sizeof *c);
    if (!c) return RF_NOMEM;
    if (sqlite3_open_v2(path, &c->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL) || !prepare(c)) {
        rf_catalogue_close(c);
        return RF_IO;
    }
    *out = c;
    return RF_OK;
}

void rf_catalogue_close(struct rf_catalogue *c)
{
    if (!c) return;
    sqlite3_finalize(c->get);
    sqlite3_finalize(c->put);
    if (c->db && !sqlite3_get_autocommit(c->db)) sqlite3_exec(c->db, "COMMIT", NULL, NULL, NULL);
    sqlite3_close(c->db);
    rf_free(c);
}

static void bind_key(sqlite3_stmt *q, const struct stat *st)
{
    sqlite3_bind_int64(q, 1, (sqlite3_int64)st->st_dev);
    sqlite3_bind_int64(q, 2, (sqlite3_int64)st->st_ino);
    sqlite3_bind_int64(q, 3, st->st_size);
    sqlite3_bind_int64(q, 4, st->st_mtim.tv_sec * 1000000000LL + st->st_mtim.tv_nsec);
}

static const char *text(sqlite3_stmt *q, int column, struct rf_arena *a)
{
    const char *s = (const char *)sqlite3_column_text(q, column);
    char *copy = rf_arena_strndup(a, s ? s : "", s ? strlen(s) : 0);
    return copy ? copy : "";
}

bool rf_catalogue_get(struct rf_catalogue *c, const struct stat *st, struct rf_arena *a, struct rf_header *h)
{
    if (!c) return false;
    bind_key(c->get, st);
    bool hit = sqlite3_step(c->get) == SQLITE_ROW;
    int kind = hit ? sqlite3_column_int(c->get, 0) : 0;
    hit = hit && kind >= 0 && kind <= RF_MODEL_BROKEN;
    if (hit)
        *h = (struct rf_header){.kind = (enum rf_model_kind)kind, .context = (uint32_t)sqlite3_column_int64(c->get, 1),
                                .bytes = (uint64_t)sqlite3_column_int64(c->get, 2), .architecture = text(c->get, 3, a),
                                .quantization = text(c->get, 4, a), .note = text(c->get, 5, a)};
    sqlite3_reset(c->get);
    return hit;
}

void rf_catalogue_put(struct rf_catalogue *c, const struct stat *st, const struct rf_header *h)
{
    if (!c) return;
    bind_key(c->put, st);
    sqlite3_bind_int(c->put, 5, (int)h->kind);
    sqlite3_bind_int64(c->put, 6, h->context);
    sqlite3_bind_int64(c->put, 7, (sqlite3_int64)h->bytes);
    sqlite3_bind_text(c->put, 8, h->architecture, -1, SQLITE_STATIC);
    sqlite3_bind_text(c->put, 9, h->quantization, -1, SQLITE_STATIC);
    sqlite3_bind_text(c->put, 10, h->note, -1, SQLITE_STATIC);
    sqlite3_step(c->put); /* a full disk means that it is read again next time */
    sqlite3_reset(c->put);
    sqlite3_clear_bindings(c->put);
}
