/* prometheus.js - reads /metrics (text format 0.0.4): names, labels, histograms, and what changed between two readings. */

const LINE = /^([a-zA-Z_:][\w:]*)(?:\{(.*)\})? (\S+)$/;
const LABEL = /([a-zA-Z_]\w*)="((?:[^"\\]|\\.)*)"/g;

/* name -> [{labels, value}] */
export function parse(text) {
    const out = new Map();
    for (const line of text.split('\n')) {
        if (!line || line[0] === '#') continue;
        const found = LINE.exec(line);
        if (!found) continue;
        const labels = {};
        for (const [, k, v] of (found[2] || '').matchAll(LABEL)) labels[k] = v.replace(/\\(.)/g, (_, c) => (c === 'n' ? '\n' : c));
        if (!out.has(found[1])) out.set(found[1], []);
        out.get(found[1]).push({ labels, value: found[3] === '+Inf' ? Infinity : Number(found[3]) });
    }
    return out;
}

/* Of all models together; 0 where the server does not tell. */
export const total = (m, name) => (m.get(name) || []).reduce((sum, s) => sum + s.value, 0);

/* Sums by the value of one label, in the order in which they come. */
export function by(m, name, label) {
    const out = new Map();
    for (const s of m.get(name) || []) out.set(s.labels[label], (out.get(s.labels[label]) || 0) + s.value);
    return out;
}

/* {bounds, counts, sum, count}: counts per bucket, not cumulated; the last bound is Infinity. less: an earlier reading to
 * take off, ignored where the server has begun anew since. */
export function histogram(m, name, less) {
    const read = (from) => {
        const rows = [...by(from, `${name}_bucket`, 'le')].map(([le, n]) => [le === '+Inf' ? Infinity : Number(le), n]).sort((a, b) => a[0] - b[0]);
        return { bounds: rows.map((r) => r[0]), counts: rows.map((r, i) => r[1] - (i ? rows[i - 1][1] : 0)), sum: total(from, `${name}_sum`), count: total(from, `${name}_count`) };
    };
    const now = read(m), old = less && read(less);
    if (!old || old.count > now.count || old.bounds.length !== now.bounds.length) return now;
    return { bounds: now.bounds, counts: now.counts.map((n, i) => n - old.counts[i]), sum: now.sum - old.sum, count: now.count - old.count };
}

/* Where the part p of all lies, straight within its bucket, as Prometheus computes it; NaN without any. */
export function quantile({ bounds, counts, count }, p) {
    if (!count) return NaN;
    let seen = 0;
    for (let i = 0; i < bounds.length; i++) {
        if (seen + counts[i] >= p * count && counts[i]) {
            const low = i ? bounds[i - 1] : 0;
            return bounds[i] === Infinity ? low : low + (bounds[i] - low) * (p * count - seen) / counts[i];
        }
        seen += counts[i];
    }
    return NaN;
}
