/* thread.js - how one message looks: its text, what can be done with it, its timings, its error. */
import { button, copyButton, count, el, icon, plural, say, seconds } from './dom.js';
import { Live } from './markdown.js';
import { siblings } from './store.js';

/* Models that think aloud put it between <think> tags, some leave out the first. */
export function split(text) {
    const from = /^\s*<think>/.exec(text)?.[0].length ?? 0, to = text.indexOf('</think>');
    if (!from && to < 0) return { thought: '', answer: text, thinking: false };
    if (to < 0) return { thought: text.slice(from), answer: '', thinking: true };
    return { thought: text.slice(from, to).trim(), answer: text.slice(to + 8).replace(/^\s+/, ''), thinking: false };
}

const ENDS = { length: 'The answer reached its longest length.', stopped: 'Stopped.', cut: 'Cut off.' };

function timings(stats) {
    if (!stats?.tokens) return '';
    const parts = [plural(stats.tokens, 'token')];
    if (stats.speed) parts.push(`${stats.speed < 100 ? stats.speed.toFixed(1) : count(stats.speed)} tokens/s`);
    if (stats.first) parts.push(`first after ${seconds(stats.first)}`);
    if (stats.prompt) parts.push(`prompt ${count(stats.prompt)}${stats.cached ? ` (${count(stats.cached)} cached)` : ''}`);
    return parts.map((p) => p.replaceAll(' ', '\u00a0')).join(' · ');
}

function branches(chat, node, does) {
    const all = siblings(chat, node), at = all.indexOf(node);
    if (all.length < 2) return null;
    const step = (by, name, label) => button(name, label, () => does.turn(all[at + by]), { disabled: !all[at + by] });
    return el('span', { class: 'branches', role: 'group', 'aria-label': 'Versions' }, step(-1, 'left', 'Version before'),
        el('span', {}, `${at + 1}/${all.length}`), step(1, 'right', 'Version after'));
}

function errorCard(error, does) {
    const names = { retry: ['redo', 'Try again', does.retry], key: ['key', 'Enter the key', does.key], new: ['plus', 'Start a new chat', does.fresh],
        settings: ['tune', 'Look at the settings', does.settings] };
    const [picture, label, act] = names[error.action] || [];
    return el('div', { class: 'error', role: 'alert' }, icon('warn'), el('div', {}, el('strong', {}, error.title), el('p', {}, error.text),
        act && el('button', { type: 'button', onclick: act }, icon(picture), label),
        error.action === 'key' && el('button', { type: 'button', onclick: does.retry }, icon('redo'), 'Try again')));
}

/* The user's message; does: {edit(text), turn(node)}. */
export function userMessage(chat, node, does) {
    const body = el('div', { class: 'body', dir: 'auto' }, node.text);
    const tools = el('div', { class: 'tools' }, branches(chat, node, does), copyButton('Copy question', () => node.text),
        button('edit', 'Edit question', () => edit()));
    const root = el('article', { class: 'msg user', 'aria-label': 'You' }, el('h2', { class: 'hidden' }, 'You'), body, tools);

    function edit() {
        const box = el('textarea', { 'aria-label': 'Edit question', rows: Math.min(12, node.text.split('\n').length + 1) });
        const close = () => {
            form.replaceWith(body);
            tools.hidden = false;
            tools.lastChild.focus();
        };
        const send = () => {
            const text = box.value.trim();
            if (text && text !== node.text) does.edit(text);
            else close();
        };
        const form = el('div', { class: 'body editing' }, box, el('div', { class: 'row' }, el('div', { class: 'grow' }),
            el('button', { type: 'button', onclick: close }, 'Cancel'), el('button', { type: 'button', class: 'go', onclick: send }, 'Send')));
        box.value = node.text;
        box.addEventListener('keydown', (e) => {
            if (e.key === 'Escape') {
                e.stopPropagation();
                close();
            } else if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
                e.preventDefault();
                send();
            }
        });
        body.replaceWith(form);
        tools.hidden = true;
        box.focus();
    }
    return { root, edit };
}

/* The model's; does: {turn, redo, retry, key, fresh, settings}. show(running) again whenever node has changed. */
export function answerMessage(chat, node, does) {
    const body = el('div', { class: 'body text' }), state = el('div', { class: 'state' }), below = el('div', { class: 'below' });
    const thoughts = el('div', { class: 'thoughts' }), folded = el('details', { class: 'think', hidden: true }, el('summary', {}, 'Thinking'), thoughts);
    const root = el('article', { class: 'msg bot', 'aria-label': `Answer of ${node.model || 'the model'}` },
        el('h2', { class: 'who', translate: 'no' }, node.model || 'Answer'), folded, body, state, below);
    const live = new Live(body, (text) => spoken && say(text)), inner = new Live(thoughts);
    let spoken = false;

    function show(running) {
        const { thought, answer, thinking } = split(node.text);
        spoken ||= running;
        root.setAttribute('aria-busy', String(running));
        root.classList.toggle('running', running);
        folded.hidden = !thought;
        if (thought) {
            folded.firstChild.textContent = thinking && running ? 'Thinking…' : 'Thoughts';
            inner.show(thought, !running);
        }
        live.show(answer, !running);
        const waiting = running && !answer && !thinking;
        state.replaceChildren(...(waiting ? [el('span', { class: 'dots', 'aria-hidden': 'true' }, el('i'), el('i'), el('i')), node.wait || ''] : []));
        below.replaceChildren(...(running ? [el('span', { class: 'stats' }, timings(node.stats))] : end()));
    }

    function end() {
        const note = node.finish in ENDS && !node.error ? el('span', { class: 'note' }, ENDS[node.finish]) : null;
        return [node.error && errorCard(node.error, does),
            el('div', { class: 'tools' }, node.text && copyButton('Copy answer', () => split(node.text).answer),
                (node.text || !node.error) && button('redo', 'Answer again', does.redo), branches(chat, node, does), note, el('span', { class: 'stats' }, timings(node.stats)))].filter(Boolean);
    }
    return { root, show };
}
