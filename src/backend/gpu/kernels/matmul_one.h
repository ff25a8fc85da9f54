/* matmul_one.h - the product of one row of x on the matrix unit (m16n8k16), for all types; the kernel of each is in matmul_one_type.h. See matmul.gpu.
 *
 * What stands before and behind a product in a layer is done here too, so that a layer of one row is few launches: x is normed first, with the
 * bits of rmsnorm (rows.gpu); behind it two weights' sums become act(gate) * up, or the residual is added.
 *
 * A block is all that runs on a processor: it makes the form of x (act.h) for one row in shared memory, from floats, once. A block of 32 values is high parts
 * [4 lanes t][8 values], then low parts. Its two halves of RF_GPU_MM_GROUPS groups each take tiles of their own: share s of 2 * blocks has p.tiles of them, one more
 * where s < p.extra; the first half of a processor has a low share, the second a high one. A group's chunks of a tile are those that it has in the
 * kernels for more rows (matmul_first), so the bits are the same.
 */
#ifndef RF_GPU_MATMUL_ONE_H
#define RF_GPU_MATMUL_ONE_H

#include "rows.h"

enum { ONE_THREADS = RF_GPU_ONE_THREADS, ONE_HALF = ONE_THREADS / RF_GPU_ONE_HALVES };
enum { ONE_NORM = RF_GPU_NORM_ROW / 4 / ONE_THREADS, ONE_LOADS = 8 }; /* vectors of a thread, at once */
enum { ONE_AHEAD = 2 };                                               /* chunks of a group on their way */

struct one_share { g_u32 first, n, n_tile; }; /* tiles, or pairs of gate and up; n_tile: tiles in all */
/* Chunk c of the share's i-th tile, which is tile `tile` of the weight at w; from `end` on tiles are another weight's. */
struct one_at { g_u64 w; g_u32 i, tile, c, end; };

/* pair: shares from p->split on take the last weight's tiles, which are of another type, and no others. */
G_FN struct one_share one_share_of(const struct matmul_args *p, int pair)
{
    const g_u32 s = g_tid() / ONE_HALF * p->blocks + g_bx(), n = p->tiles + (s < p->extra);
    if (pair && s >= p->split) {
        const g_u32 r = s - p->split, n2 = p->tiles2 + (r < p->extra2);
        return (struct one_share){p->first2 + r * p->tiles2 + (r < p->extra2 ? r : p->extra2), n2, n2};
    }
    return (struct one_share){s * p->tiles + (s < p->extra ? s : p->extra), n, p->glu ? 2 * n : n};
}
/* Which weight the i-th tile of a share belongs to; that tile's number there, and where the weight's tiles end. Of pairs, gates come first. */
G_FN g_u32 one_weight(const struct matmul_args *p, const struct one_share *s, g_u32 i, g_u32 *tile, g_u32 *end)
{
    g_u32 k = 0, from = 0;
    *end = s->n_tile;
    if (p->glu) {
        k = i >= s->n;
        *tile = s->first + i - (k ? s->n : 0);
        if (!k) *end = s->n;
        return k;
    }
    for (g_u32 j = 0; j + 1 < RF_GPU_MM_WEIGHTS; j++)
        if (j + 1 < p->n_w && s->first + i >= p->w[j].block_end) {
            from = p->w[j].block_end;
            k = j + 1;
        }
    *tile = s->first + i - from;
    const g_u32 last = k == 0 ? p->w[0].block_end : k == 1 ? p->w[1].block_end : p->w[2].block_end; /* arguments have no address */
    if (last - s->first < *end) *end = last - s->first;
    return k;
}
/* To this group's first chunk of tile at->i, a weight's first one in the share. */
G_FN void one_run(const struct matmul_args *p, const struct one_share *s, g_u32 group, struct one_at *at)
{
    at->c = 0;
    if (at->i >= s->n_tile) return;
    const g_u32 k = one_weight(p, s, at->i, &at->tile, &at->end);
    at->w = k == 0 ? p->w[0].w : k == 1 ? p->w[1].w : p->w[2].w;
    at->c = matmul_first(at->tile, group, p->n_chunk);
}
/* On to the tile that chunk c, counted through tiles, is in. */
G_FN void one_settle(const struct matmul_args *p, const struct one_share *s, g_u32 group, struct one_at *at)
{
    while (at->c >= p->n_chunk) {
        at->c -= p->n_chunk;
        at->tile++;
        if (++at->i == at->end) one_run(p, s, group, at);
    }
}
G_FN void one_next(const struct matmul_args *p, const struct one_share *s, g_u32 group, struct one_at *at)
{
    at->c += RF_GPU_MM_GROUPS;
    one_settle(p, s, group, at);
}

/* Values 4i .. 4i + 3 to their places in the form; called by whole warps, with i rising by lane. */
G_FN void one_put(const struct matmul_args *p, g_u8 *form, g_u32 i, const float *v, int half)
{
    const g_u32 block = i >> 3, h = half ? (i >> 2) & 1 : i & 1, t = half ? i & 3 : (i >> 1) & 3; /* octet_k, octet_k_bf16 */
    g_u8 *to = form + block * 128 + t * 16 + h * 8;
    struct g_u2 high, low;
    if (!half) {
        for (int k = 0; k < 2; k++) act_bf16_2(v[2 * k], v[2 * k + 1], &high.v[k], &low.v[k]);
    } else {
        float pair[2];
        for (int k = 0; k < 2; k++) pair[k] = act_half2(v[2 * k] * p->act.factor, v[2 * k + 1] * p->act.factor, &high.v[k], &low.v[k]);
        float s = pair[0] + pair[1];
        s += g_shfl_xor(s, 4);
        s += g_shfl_xor(s, 1);
        s += g_shfl_xor(s, 2);
        if ((i & 7) == 0) act_put_sum((g_u16 *)(form + p->act.blocks * 128 + (block >> 3) * 32 + ((block & 7) >> 1) * 8 + (block & 1) * 2), s);
    }
    *(struct g_u2 *)to = high;
    *(struct g_u2 *)(to + 64) = low;
}
/* The form of the row at p->x, zeros behind it; red: a float per warp. */
G_FN void one_form(const struct matmul_args *p, g_u8 *form, int half)
{
    const struct g_f4 *x = (const struct g_f4 *)p->x, zero = {{0, 0, 0, 0}};
    const g_u32 n = p->cols / 4, all = p->act.blocks * 8;
    G_UNROLL(1)
    for (g_u32 from = g_tid(); from < all; from += ONE_THREADS * ONE_LOADS) {
        struct g_f4 v[ONE_LOADS];
        G_UNROLL(8)
        for (g_u32 k = 0; k < ONE_LOADS; k++) v[k] = from + k * ONE_THREADS < n ? x[from + k * ONE_THREADS] : zero;
        G_UNROLL(8)
        for (g_u32 k = 0; k < ONE_LOADS; k++)
            if (from + k * ONE_THREADS < all) one_put(p, form, from + k * ONE_THREADS, v[k].v, half);
    }
}
/* The same of the normed row; w: this thread's norm weights, fetched before. Additions are in the order of rmsnorm: p->norm_threads of the threads work. */
G_FN void one_norm_form(const struct matmul_args *p, const struct g_f4 *w, g_u8 *form, float *red, int half)
{
    const struct g_f4 *x = (const struct g_f4 *)p->x, zero = {{0, 0, 0, 0}};
    const g_u32 n = p->cols / 4, all = p->act.blocks * 8, works = g_tid() < p->norm_threads;
    struct g_f4 v[ONE_NORM];
    float s = 0;
    G_UNROLL(8)
    for (g_u32 k = 0; k < ONE_NORM; k++) v[k] = works && g_tid() + k * p->norm_threads < n ? x[g_tid() + k * p->norm_threads] : zero;
    G_UNROLL(8)
    for (g_u32 k = 0; k < ONE_NORM; k++)
        for (int e = 0; e < 4; e++) s = g_fma(v[k].v[e], v[k].v[e], s);
    s = g_block_sum(s, red, p->norm_threads);
    const float factor = norm_factor(s, p->cols, p->eps);
    G_UNROLL(8)
    for (g_u32 k = 0; k < ONE_NORM; k++) {
        const g_u32 i = g_tid() + k * p->norm_threads;
        if (!works || i >= all) continue; /* whole warps */
        for (int e = 0; e < 4; e++) v[k].v[e] = v[k].v[e] * factor * w[k].v[e];
        one_put(p, form, i, v[k].v, half);
    }
}

G_FN float one_sum(const struct matmul_args *p, const float *part, g_u32 i, g_u32 row16, int half)
{
    float s = 0;
    for (g_u32 j = 0; j < RF_GPU_MM_GROUPS; j++) s += part[(i * RF_GPU_MM_GROUPS + j) * 16 + row16];
    return half ? s * (1.0f / p->act.factor) : s; /* a power of two */
}
G_FN struct matmul_weight one_weight_at(const struct matmul_args *p, g_u32 k)
{
    struct matmul_weight w = p->w[0];
    if (k == 1) w = p->w[1];
    if (k == 2) w = p->w[2];
    return w;
}
/* Where element e of the share's outputs goes: row *row of *w; 0: behind the rows. */
G_FN int one_out(const struct matmul_args *p, const struct one_share *s, g_u32 e, struct matmul_weight *w, g_u32 *row)
{
    g_u32 tile, end;
    if (e >= s->n * 16) return 0;
    *w = one_weight_at(p, one_weight(p, s, e / 16, &tile, &end));
    *row = tile * 16 + e % 16;
    return *row < w->rows;
}
/* The share's outputs; add: what the thread's first one is added to. */
G_FN void one_finish(const struct matmul_args *p, const struct one_share *s, const float *part, float add, int half)
{
    for (g_u32 e = g_tid() % ONE_HALF, first = e; e < s->n * 16; e += ONE_HALF) {
        struct matmul_weight w;
        g_u32 row;
        if (!one_out(p, s, e, &w, &row)) continue;
        float v = one_sum(p, part, e / 16, e % 16, half);
        if (w.bias) v += ((const float *)w.bias)[row];
        if (p->glu) {
            float up = one_sum(p, part, s->n + e / 16, e % 16, half);
            if (p->w[1].bias) up += ((const float *)p->w[1].bias)[row];
            v = activation(v, p->glu - 1) * up;
        } else if (w.add) {
            v += e == first ? add : ((const float *)w.add)[row];
        }
        ((float *)w.out)[row] = v;
    }
}
#endif
