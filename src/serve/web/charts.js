/* charts.js - lines over time and bars of a histogram as SVG, each with its numbers as a table for who does not see it. */
import { count, el, svg } from './dom.js';

const LEFT = 46, RIGHT = 10, TOP = 10, BOTTOM = 22;

/* A round number that is at least most, for the top of an axis. */
function round(most, least) {
    const m = Math.max(most, least), size = 10 ** Math.floor(Math.log10(m));
    return [1, 2, 2.5, 4, 5, 8, 10].map((k) => k * size).find((v) => v >= m * 0.999);
}

function frame(host, height, label) {
    const width = Math.max(host.clientWidth, 200);
    const root = svg('svg', { viewBox: `0 0 ${width} ${height}`, width, height, role: 'img', 'aria-label': label });
    return { root, width, height, w: width - LEFT - RIGHT, h: height - TOP - BOTTOM };
}

function grid(f, top, format) {
    for (const part of [0, 0.5, 1]) {
        const y = TOP + f.h * (1 - part);
        f.root.append(svg('line', { x1: LEFT, x2: f.width - RIGHT, y1: y, y2: y, class: part ? 'grid' : 'axis' }),
            svg('text', { x: LEFT - 8, y: y + 4, 'text-anchor': 'end' }, format(top * part)));
    }
}

function rows(box, head, body) {
    const old = box.querySelector('tbody'), fresh = el('tbody', {}, ...body.map((r) => el('tr', {}, el('th', { scope: 'row' }, r[0]), ...r.slice(1).map((c) => el('td', {}, c)))));
    if (old) old.replaceWith(fresh);
    else box.append(el('table', {}, el('thead', {}, el('tr', {}, ...head.map((h) => el('th', { scope: 'col' }, h)))), fresh));
}

/* A figure: title and what it says now above, the drawing, the numbers folded below. */
export function figure(title, kind) {
    const now = el('span', { class: 'now' }), plot = el('div', { class: 'plot' }), box = el('div', { class: 'numbers', tabindex: 0, role: 'region', 'aria-label': `${title}, numbers` });
    const fold = el('details', {}, el('summary', {}, 'Numbers', el('span', { class: 'hidden' }, ` of ${title}`)), box);
    const root = el('figure', { class: `chart ${kind}` }, el('figcaption', {}, el('h3', {}, title), now), plot, fold);
    return { root, title, now, plot, box, fold };
}

/* series: [{name, kind, values}], oldest first, at times (seconds, the last is now). span: seconds across. */
export function lines(fig, { times, series, format, least, span }) {
    const last = times.at(-1), top = round(Math.max(...series.flatMap((s) => s.values), 0), least);
    const said = series.map((s) => `${s.name} ${format(s.values.at(-1) ?? 0)}, at most ${format(Math.max(...s.values, 0))}`).join('; ');
    const f = frame(fig.plot, 170, `${fig.title} over the last ${Math.round(span / 60)} min: ${said}`);
    grid(f, top, format);
    const x = (t) => LEFT + f.w * (1 - (last - t) / span), y = (v) => TOP + f.h * (1 - Math.min(v / top, 1));
    for (const s of series) {
        const points = s.values.map((v, i) => `${x(times[i]).toFixed(1)} ${y(v).toFixed(1)}`);
        if (points.length < 2) continue;
        if (s === series[0]) f.root.append(svg('path', { class: `area ${s.kind}`, d: `M${x(times[0]).toFixed(1)} ${TOP + f.h}L${points.join('L')}V${TOP + f.h}Z` }));
        f.root.append(svg('path', { class: `line ${s.kind}`, d: `M${points.join('L')}` }));
    }
    const tick = span > 150 ? 60 : span > 90 ? 30 : 15;
    for (let ago = tick; ago < span * 0.99; ago += tick)
        f.root.append(svg('text', { x: x(last - ago), y: f.height - 5, 'text-anchor': 'middle' }, tick < 60 ? `−${ago} s` : `−${ago / 60} min`));
    f.root.append(svg('text', { x: f.width - RIGHT, y: f.height - 5, 'text-anchor': 'end' }, 'now'));
    fig.plot.replaceChildren(f.root);
    fig.now.replaceChildren(...series.map((s) => el('span', { class: `key ${s.kind}` }, el('i', { 'aria-hidden': 'true' }), `${s.name} `, el('b', {}, format(s.values.at(-1) ?? 0)))));
    if (!fig.fold.open && fig.box.firstChild) return;
    const every = Math.max(1, Math.ceil(times.length / 30)), picked = times.map((_, i) => i).reverse().filter((_, i) => i % every === 0);
    rows(fig.box, ['Ago', ...series.map((s) => s.name)], picked.map((i) => [`${Math.round(last - times[i])} s`, ...series.map((s) => format(s.values[i]))]));
}

/* A histogram as bars; marks: [[name, value]] are told beside the title. */
export function bars(fig, { bounds, counts }, format, marks, total) {
    const used = counts.map((n, i) => (n ? i : -1)).filter((i) => i >= 0);
    const from = used.length ? Math.max(0, used[0] - 1) : 0, to = used.length ? Math.min(bounds.length - 1, used.at(-1) + 1) : Math.min(bounds.length - 1, 7);
    const shown = bounds.slice(from, to + 1), heights = counts.slice(from, to + 1);
    const top = round(Math.max(...heights, 0), 4), name = (b) => (b === Infinity ? 'more' : format(b));
    const f = frame(fig.plot, 150, total ? `${fig.title}: ${marks.map(([n, v]) => `${n} ${v}`).join(', ')}, of ${count(total)}` : `${fig.title}: nothing measured yet`);
    grid(f, top, (v) => (v === Math.round(v) ? (v >= 1e4 ? `${+(v / 1e3).toFixed(1)}k` : String(v)) : ''));
    const step = f.w / shown.length, every = Math.ceil(54 / step);
    heights.forEach((n, i) => {
        const h = f.h * n / top, x = LEFT + i * step;
        if (n) f.root.append(svg('rect', { class: 'bar', x: x + Math.min(2, step * 0.1), width: Math.max(step - Math.min(4, step * 0.2), 1), y: TOP + f.h - Math.max(h, 2), height: Math.max(h, 2), rx: 2 }));
        if ((shown.length - 1 - i) % every === 0) f.root.append(svg('text', { x: x + step, y: f.height - 5, 'text-anchor': 'end' }, name(shown[i])));
    });
    fig.plot.replaceChildren(f.root);
    fig.now.replaceChildren(...(total ? marks.map(([n, v]) => el('span', { class: 'key' }, `${n} `, el('b', {}, v))) : [el('span', { class: 'key' }, 'nothing yet')]));
    if (!fig.fold.open && fig.box.firstChild) return;
    rows(fig.box, ['Up to', 'Times'], heights.map((n, i) => [name(shown[i]), count(n)]));
}
