/* server.js - the second view: the server at work, from /metrics read every two seconds while the view is looked at. */
import { explain, request } from './api.js';
import { bars, figure, lines } from './charts.js';
import { $, count, el, icon, plural, seconds, short } from './dom.js';
import { by, histogram, parse, quantile, total } from './prometheus.js';

const EVERY_MS = 2000, SPAN_S = 300, LEAST_S = 60;

const TIMES = [['vllm:time_to_first_token_seconds', 'Time to the first token'], ['vllm:inter_token_latency_seconds', 'Between two tokens'],
    ['vllm:e2e_request_latency_seconds', 'Whole request'], ['vllm:request_queue_time_seconds', 'Waiting in the queue'],
    ['vllm:request_prefill_time_seconds', 'Reading the prompt'], ['vllm:request_decode_time_seconds', 'Writing the answer']];
const SIZES = [['vllm:request_prompt_tokens', 'Tokens of a prompt'], ['vllm:request_generation_tokens', 'Tokens of an answer'],
    ['vllm:iteration_tokens_total', 'Tokens of one step']];

let shown = false, paused = false, timer = 0, controller = null;
let first = null;            /* the first reading, for "since this page was opened" */
const samples = [];          /* {t, m}, oldest first */
const figures = new Map();
const tiles = new Map();

function tile(name, label) {
    const value = el('strong', {}, '–'), below = el('span', {}, '\u00a0');
    tiles.set(name, { value, below });
    return el('div', { class: 'tile', role: 'group', 'aria-label': label }, el('h2', {}, label), value, below);
}

function put(name, value, below) {
    const t = tiles.get(name);
    t.value.textContent = value;
    t.below.textContent = below || '\u00a0';
}

function chart(name, title, kind) {
    const fig = figure(title, kind);
    figures.set(name, fig);
    return fig.root;
}

function build() {
    const since = el('select', { id: 'since', onchange: draw }, el('option', { value: 'start' }, 'since the server started'), el('option', { value: 'page' }, 'since this page was opened'));
    const hold = el('button', { type: 'button', id: 'hold', 'aria-pressed': 'false', onclick: () => {
        paused = !paused;
        hold.setAttribute('aria-pressed', String(paused));
        hold.replaceChildren(icon(paused ? 'play' : 'pause'), paused ? 'Go on' : 'Pause');
        if (!paused) poll();
    } }, icon('pause'), 'Pause');
    $('view-server').replaceChildren(el('div', { class: 'board' },
        el('header', { class: 'head' }, el('div', {}, el('h1', { tabindex: -1 }, 'Server'), el('p', { id: 'about', translate: 'no' }, '…')), el('div', { class: 'tools' }, hold)),
        el('p', { id: 'stale', class: 'stale', role: 'status' }),
        el('section', { class: 'tiles', 'aria-label': 'Now' }, tile('running', 'Requests running'), tile('waiting', 'Waiting in the queue'), tile('speed', 'Tokens written'),
            tile('prompt', 'Prompt tokens read'), tile('kv', 'KV cache in use'), tile('done', 'Requests answered')),
        el('section', { class: 'charts wide', 'aria-label': 'Last five minutes' }, chart('speed', 'Tokens per second', 'lines'), chart('load', 'Requests', 'lines'), chart('kv', 'KV cache', 'lines')),
        el('header', { class: 'sub' }, el('h2', {}, 'Distributions'), el('label', { class: 'pick' }, el('span', { class: 'hidden' }, 'Counted'), since)),
        el('section', { class: 'charts', 'aria-label': 'Distributions' }, ...[...TIMES, ...SIZES].map(([name, title]) => chart(name, title, 'bars'))),
        el('header', { class: 'sub' }, el('h2', {}, 'Answers by route')),
        el('div', { class: 'table', tabindex: 0, role: 'region', 'aria-label': 'Answers by route' }, el('table', {}, el('thead', {}, el('tr', {}, ...['Route', 'Status', 'Answers'].map((h) => el('th', { scope: 'col' }, h)))), el('tbody', { id: 'routes' })))));
}

/* ---- numbers ---- */

const rate = (a, b, name) => (b.t > a.t ? Math.max(0, total(b.m, name) - total(a.m, name)) / (b.t - a.t) : 0);

/* Over the last few readings, so that it does not jump. */
function smooth(name, at = samples.length - 1) {
    return samples.length > 1 && at > 0 ? rate(samples[Math.max(0, at - 2)], samples[at], name) : 0;
}

function kvUse(m) {
    const blocks = total(m, 'rocmforge_kv_blocks');
    return blocks ? 1 - total(m, 'rocmforge_kv_blocks_free') / blocks : total(m, 'vllm:kv_cache_usage_perc');
}

const percent = (part) => `${+(part * 100).toFixed(part < 0.0995 ? 1 : 0)}%`;

function drawTiles(m) {
    const queries = total(m, 'vllm:prefix_cache_queries_total'), ends = by(m, 'vllm:request_success_total', 'finished_reason');
    const config = m.get('vllm:cache_config_info')?.[0]?.labels, blocks = total(m, 'rocmforge_kv_blocks');
    const failed = total(m, 'rocmforge_request_failed_total'), aborted = ends.get('abort') || 0, refused = total(m, 'vllm:admission_rejections');
    const bad = [[failed, 'failed'], [aborted, 'ended early'], [refused, 'refused']].filter(([n]) => n).map(([n, w]) => `${short(n)} ${w}`);
    put('running', short(total(m, 'vllm:num_requests_running')), plural(total(m, 'rocmforge_http_connections'), 'connection'));
    put('waiting', short(total(m, 'vllm:num_requests_waiting')), plural(total(m, 'rocmforge_waiting_tokens'), 'token'));
    put('speed', `${short(smooth('vllm:generation_tokens_total'))}/s`, `${short(total(m, 'vllm:generation_tokens_total'))} in all`);
    put('prompt', `${short(smooth('vllm:prompt_tokens_total'))}/s`, `${short(total(m, 'vllm:prompt_tokens_total'))} in all${queries ? `, ${percent(total(m, 'vllm:prefix_cache_hits_total') / queries)} cached` : ''}`);
    put('kv', percent(kvUse(m)), config ? `${short(blocks * Number(config.block_size))} tokens fit` : '');
    put('done', short((ends.get('stop') || 0) + (ends.get('length') || 0)), bad.join(', '));
}

function drawLines() {
    const times = samples.map((s) => s.t), of = (f) => samples.map((s, i) => f(s.m, i)), span = Math.min(SPAN_S, Math.max(LEAST_S, times.at(-1) - times[0]));
    const whole = (v) => (v === Math.round(v) ? short(v) : v.toFixed(1));
    lines(figures.get('speed'), { times, span, least: 10, format: short, series: [
        { name: 'written', kind: 'one', values: of((m, i) => smooth('vllm:generation_tokens_total', i)) },
        { name: 'read', kind: 'two', values: of((m, i) => smooth('vllm:prompt_tokens_total', i)) }] });
    lines(figures.get('load'), { times, span, least: 2, format: whole, series: [
        { name: 'running', kind: 'one', values: of((m) => total(m, 'vllm:num_requests_running')) },
        { name: 'waiting', kind: 'two', values: of((m) => total(m, 'vllm:num_requests_waiting')) }] });
    lines(figures.get('kv'), { times, span, least: 0.1, format: percent, series: [{ name: 'in use', kind: 'one', values: of(kvUse) }] });
}

function drawBars(m) {
    const less = $('since').value === 'page' ? first : null;
    for (const [list, format] of [[TIMES, seconds], [SIZES, short]])
        for (const [name] of list) {
            const h = histogram(m, name, less), fig = figures.get(name);
            fig.root.hidden = !h.bounds.length;
            if (!h.bounds.length) continue;
            const marks = [['half', 0.5], ['95%', 0.95], ['99%', 0.99]].map(([word, p]) => [word, `≤ ${format(tidy(quantile(h, p)))}`]);
            bars(fig, h, format, marks, h.count);
        }
}

const tidy = (v) => (Number.isFinite(v) ? Number(v.toPrecision(2)) : v);

function drawRoutes(m) {
    const all = (m.get('rocmforge_http_requests_total') || []).filter((s) => s.value);
    $('routes').replaceChildren(...all.map(({ labels, value }) => el('tr', {}, el('th', { scope: 'row' }, labels.route),
        el('td', {}, labels.status === '499' ? '499, client left' : labels.status), el('td', { class: 'end' }, count(value)))));
}

function draw() {
    const now = samples.at(-1);
    if (!now || !shown) return;
    const names = [...by(now.m, 'vllm:num_requests_running', 'model_name').keys()].filter(Boolean);
    const version = now.m.get('rocmforge_build_info')?.[0]?.labels.version;
    $('about').textContent = [names.join(', ') || 'no model loaded', version && `ROCmForge ${version}`].filter(Boolean).join(' · ');
    drawTiles(now.m);
    drawLines();
    drawBars(now.m);
    drawRoutes(now.m);
}

/* ---- reading ---- */

async function poll() {
    clearTimeout(timer);
    controller?.abort();
    if (!shown || paused || document.hidden) return;
    const mine = controller = new AbortController();
    try {
        const m = parse(await (await request('metrics', { signal: mine.signal })).text()), t = performance.now() / 1000;
        const before = samples.at(-1);
        if (before && total(m, 'rocmforge_engine_steps_total') < total(before.m, 'rocmforge_engine_steps_total')) { /* a new server */
            samples.length = 0;
            first = null;
        }
        samples.push({ t, m });
        while (samples[0].t < t - SPAN_S) samples.shift();
        first ||= m;
        $('stale').textContent = '';
        draw();
    } catch (e) {
        if (e.name === 'AbortError') return;
        const why = explain(e);
        $('stale').textContent = `${why.title}. ${e.status === 401 ? why.text : 'Trying again…'}`;
    }
    if (mine === controller) timer = setTimeout(poll, EVERY_MS);
}

export function show(on) {
    shown = on;
    if (on) {
        draw();
        poll();
    } else {
        clearTimeout(timer);
    }
}

export function start() {
    build();
    document.addEventListener('visibilitychange', poll);
    new ResizeObserver(draw).observe($('view-server'));
}
