#include "sample/row.h"

#include <math.h>
#include <string.h>

#include "base/choice.h"

enum { LANES = 16 };

bool rf_row_finite(const float *x, uint32_t n)
{
    uint32_t bad = 0;
    for (uint32_t i = 0; i < n; i++) {
        uint32_t u;
        memcpy(&u, &x[i], sizeof u);
        bad |= (u & 0x7f800000u) == 0x7f800000u;
    }
    return !bad;
}

float rf_row_max(const float *x, uint32_t n)
{
    float m[LANES], best = -INFINITY;
    uint32_t i = 0;
    for (uint32_t j = 0; j < LANES; j++) m[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) m[j] = x[i + j] > m[j] ? x[i + j] : m[j];
    for (uint32_t j = 0; j < LANES; j++) best = m[j] > best ? m[j] : best;
    for (; i < n; i++) best = x[i] > best ? x[i] : best;
    return best;
}

uint32_t rf_row_argmax(const float *x, uint32_t n)
{
    float m = rf_row_max(x, n);
    for (uint32_t i = 0; i < n; i++)
        if (x[i] == m) return i;
    return 0;
}

/* exp for x <= 0: 2^k * e^r with |r| <= ln2/2 and Taylor terms up to r^7/7! (relative error below 1e-8 there). */
static inline float exp_neg(float x)
{
    const float round = 12582912.0f; /* 1.5 * 2^23: adding it rounds to a whole number */
    float c = x < -87.0f ? -87.0f : x;
    float k = c * 1.44269504f + round - round;
    float r = c - k * 0.693359375f + k * 2.12194440e-4f; /* ln2 in two parts */
    float p = 1.98412698e-4f;
    p = p * r + 1.38888889e-3f;
    p = p * r + 8.33333333e-3f;
    p = p * r + 4.16666667e-2f;
    p = p * r + 1.66666667e-1f;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    uint32_t bits = (uint32_t)((int32_t)k + 127) << 23;
    float scale;
    memcpy(&scale, &bits, sizeof scale);
    return x < -87.0f ? 0.0f : p * scale;
}

double rf_row_exp(const float *x, uint32_t n, float max, float scale, float *y)
{
    double all = 0;
    for (uint32_t from = 0; from < n; from += RF_ROW_STRIP) {
        uint32_t to = n - from > RF_ROW_STRIP ? from + RF_ROW_STRIP : n, i = from;
        float part[LANES] = {0};
        double sum = 0;
        for (; i + LANES <= to; i += LANES)
            for (uint32_t j = 0; j < LANES; j++) {
                float e = exp_neg((x[i + j] - max) * scale);
                y[i + j] = e;
                part[j] += e;
            }
        for (; i < to; i++) sum += y[i] = exp_neg((x[i] - max) * scale);
        for (uint32_t j = 0; j < LANES; j++) sum += (double)part[j];
        all += sum;
    }
    return all;
}

uint64_t rf_row_mass(const float *w, uint32_t n)
{
    uint32_t high[LANES] = {0}, low[LANES] = {0}, i = 0; /* of 20 bits each: the compiler has vector code for int32 */
    uint64_t sum = 0;
    for (; i + LANES <= n; i += LANES)
        for (uint32_t j = 0; j < LANES; j++) {
            float v = w[i + j] * 1048576.0f;
            int32_t h = (int32_t)v;
            high[j] += (uint32_t)h;
            low[j] += (uint32_t)(int32_t)((v - (float)h) * 1048576.0f);
        }
    for (; i < n; i++) sum += rf_choice_mass(w[i]);
    for (uint32_t j = 0; j < LANES; j++) sum += ((uint64_t)high[j] << 20) + low[j];
    return sum;
}

double rf_row_logsumexp(const float *x, uint32_t n)
{
    float max = rf_row_max(x, n), y[RF_ROW_STRIP];
    double sum = 0;
    if (!(max > -INFINITY)) return -INFINITY;
    for (uint32_t from = 0; from < n; from += RF_ROW_STRIP)
        sum += rf_row_exp(x + from, n - from > RF_ROW_STRIP ? RF_ROW_STRIP : n - from, max, 1.0f, y);
    return (double)max + log(sum);
}

/* The order of results: larger first, then lower index. */
static bool better(struct rf_row_best a, struct rf_row_best b) { return a.x != b.x ? a.x > b.x : a.i < b.i; }

/* best[0..n) is a heap whose top is the worst kept. */
static void sift_down(struct rf_row_best *h, uint32_t n, uint32_t at)
{
    struct rf_row_best v = h[at];
    for (uint32_t c; (c = 2 * at + 1) < n; at = c) {
        if (c + 1 < n && better(h[c], h[c + 1])) c++;
        if (!better(v, h[c])) break;
        h[at] = h[c];
    }
    h[at] = v;
}

static bool any_above(const float *x, float t)
{
    uint32_t hit = 0;
    for (uint32_t j = 0; j < LANES; j++) hit |= x[j] > t;
    return hit;
}

uint32_t rf_row_top(const float *x, uint32_t n, uint32_t k, struct rf_row_best *best)
{
    if (k > n) k = n;
    if (!k) return 0;
    for (uint32_t i = 0; i < k; i++) best[i] = (struct rf_row_best){x[i], (int32_t)i};
    for (uint32_t i = k / 2; i-- > 0;) sift_down(best, k, i);
    for (uint32_t i = k; i < n;) {
        if (n - i >= LANES && !any_above(x + i, best[0].x)) { /* later equals lose: only larger ones count */
            i += LANES;
            continue;
        }
        for (uint32_t end = n - i > LANES ? i + LANES : n; i < end; i++)
            if (x[i] > best[0].x) {
                best[0] = (struct rf_row_best){x[i], (int32_t)i};
                sift_down(best, k, 0);
            }
    }
    for (uint32_t m = k; m > 1; m--) { /* heap sort: the worst goes to the end */
        struct rf_row_best v = best[0];
        best[0] = best[m - 1];
        best[m - 1] = v;
        sift_down(best, m - 1, 0);
    }
    return k;
}
