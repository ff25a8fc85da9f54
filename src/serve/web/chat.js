/* chat.js - the conversation that is shown: asking, streaming, stopping, editing, trying again. Answers go on while
 * another conversation is looked at; each conversation runs at most one.
 */
import { ApiError, explain, passes, stream } from './api.js';
import { $, button, download, el, plural, say } from './dom.js';
import { sampling, show as showSettings } from './settings.js';
import * as store from './store.js';
import { answerMessage, split, userMessage } from './thread.js';

const SUGGESTIONS = [
    ['Find a command', 'Which command shows free disk space?'],
    ['Write code', 'Write a C function that reverses a linked list, and explain it.'],
    ['Compare', 'What is the difference between TCP and UDP? Answer with a table.'],
    ['Explain', 'Explain what a hash table is, as if to a curious child.'],
];
const SAVE_MS = 1500;
const SPEED_MS = 100;        /* a shorter answer tells nothing about speed */
const BUSY_TRIES = 8, LOADING_TRIES = 600;

let chat = store.create();
const runs = new Map();      /* conversation id -> {chat, node, controller, done, ...} */
const deleted = new Set();   /* ids of conversations that must not be kept again */
const views = new Map();     /* message id -> its view, of those shown */
let hooks;
let stick = true;            /* the newest line is kept in sight */

export const current = () => chat;
export const isRunning = (id) => runs.has(id);

/* ---- showing ---- */

function follow() {
    const box = $('scroll');
    if (stick) box.scrollTop = box.scrollHeight;
    $('down').hidden = stick || box.scrollHeight - box.clientHeight < 200;
}

function head() {
    const messages = store.branch(chat).length;
    const day = new Date(chat.created).toLocaleDateString(undefined, { day: 'numeric', month: 'short', hour: '2-digit', minute: '2-digit' });
    const title = el('h1', { tabindex: -1 }, chat.title || 'New chat');
    return el('header', { class: 'head' }, el('div', {}, title, el('p', {}, `${day} · ${plural(messages, 'message')}`)), el('div', { class: 'tools' },
        button('edit', 'Rename conversation', () => rename(title)),
        button('save', 'Save conversation as Markdown', () => download(`${(chat.title || 'conversation').replace(/[^\p{L}\p{N}]+/gu, '-').slice(0, 60)}.md`, 'text/markdown', store.asMarkdown(chat))),
        button('trash', 'Delete conversation', () => hooks.remove(chat))));
}

function rename(title) {
    const input = el('input', { type: 'text', maxlength: 200, 'aria-label': 'Title' });
    input.value = chat.title;
    let closed = false;
    const close = async (keep) => {
        if (closed) return;
        closed = true;
        if (keep && input.value.trim()) chat.title = input.value.trim();
        title.textContent = chat.title;
        input.replaceWith(title);
        title.focus();
        if (keep) await changed();
    };
    input.addEventListener('keydown', (e) => {
        if (e.key !== 'Enter' && e.key !== 'Escape') return;
        e.stopPropagation();
        e.preventDefault();
        close(e.key === 'Enter');
    });
    input.addEventListener('blur', () => close(true));
    title.replaceWith(input);
    input.select();
}

function welcome() {
    const cards = SUGGESTIONS.map(([what, text]) => el('button', { type: 'button', class: 'card', onclick: () => ask(text) }, el('strong', {}, what), el('span', {}, text)));
    return el('section', { class: 'welcome' }, el('h1', { tabindex: -1 }, 'What would you like to know?'),
        el('p', {}, 'Ask the model that this server runs. What you write goes there and nowhere else.'), el('div', { class: 'cards' }, ...cards));
}

function view(node) {
    const does = {
        turn: (other) => {
            const label = document.activeElement.getAttribute('aria-label');
            store.turn(chat, other);
            render();
            const { root } = views.get(other.id);
            (root.querySelector(`.branches [aria-label="${label}"]:enabled`) || root).focus();
            changed();
        },
        edit: (text) => halted(chat).then((c) => begin(c, node.parent, text)),
        redo: () => halted(chat).then((c) => answer(c, node.parent)),
        retry: () => retry(node),
        key: () => showSettings(true, 'key'),
        settings: () => showSettings(true),
        fresh: () => hooks.fresh(),
    };
    const v = (node.role === 'user' ? userMessage : answerMessage)(chat, node, does);
    v.show?.(runs.get(chat.id)?.node === node);
    v.root.tabIndex = -1; /* takes the focus where what had it is gone */
    views.set(node.id, v);
    return v.root;
}

export function render() {
    const messages = store.branch(chat);
    views.clear();
    $('thread').replaceChildren(...(messages.length ? [head(), ...messages.map(view)] : [welcome()]));
    $('thread').classList.toggle('empty', !messages.length);
    document.title = chat.title ? `${chat.title} · ROCmForge` : 'ROCmForge';
    buttons();
    follow();
}

function buttons() {
    const busy = runs.has(chat.id);
    const hadFocus = document.activeElement === $('stop') || document.activeElement === $('send');
    $('stop').hidden = !busy;
    $('send').hidden = busy;
    if (hadFocus) $('ask').focus();
}

async function changed(which = chat) {
    if (Object.keys(which.nodes).length && !deleted.has(which.id)) await store.save(which).catch(() => hooks.failed('This browser could not keep the conversation: its storage is full or closed.'));
    hooks.changed();
}

export function show(next) {
    chat = next;
    stick = true;
    for (const node of Object.values(chat.nodes)) { /* the page was closed while it was written */
        if (node.running && runs.get(chat.id)?.node.id !== node.id) {
            delete node.running;
            node.finish = 'cut';
        }
    }
    const running = runs.get(chat.id);
    if (running) chat = running.chat;
    render();
}

/* ---- asking ---- */

function messages(which, leaf) {
    const out = settings_system();
    for (const node of store.branch(which, leaf)) {
        const content = node.role === 'user' ? node.text : split(node.text).answer;
        const last = out.at(-1);
        if (!content) continue;
        if (last?.role === node.role) last.content += `\n\n${content}`; /* an answer between them failed */
        else out.push({ role: node.role, content });
    }
    return out;
}

const settings_system = () => (store.settings.system.trim() ? [{ role: 'system', content: store.settings.system.trim() }] : []);

const pause = (s, signal) => new Promise((resolve, reject) => {
    const gone = () => {
        clearTimeout(timer);
        reject(new DOMException('', 'AbortError'));
    };
    const timer = setTimeout(() => {
        signal.removeEventListener('abort', gone);
        resolve();
    }, s * 1000);
    signal.addEventListener('abort', gone, { once: true });
});

/* Builds the growing answer again at most once a frame, less often where that takes long. */
function painter(run) {
    let due = false, cost = 0, over = false;
    const paint = () => {
        if (over) return; /* what is drawn now is in use */
        due = false;
        const began = performance.now();
        views.get(run.node.id)?.show(runs.get(run.chat.id) === run);
        if (run.chat === chat) follow();
        cost = performance.now() - began;
    };
    return {
        last() {
            paint();
            over = true;
        },
        soon() {
            if (due) return;
            due = true;
            if (cost > 8) setTimeout(() => requestAnimationFrame(paint), cost * 4);
            else requestAnimationFrame(paint);
        },
    };
}

function measure(run, usage) {
    const { node } = run, now = performance.now(), stats = node.stats ||= {};
    if (usage) {
        stats.tokens = usage.completion_tokens;
        stats.prompt = usage.prompt_tokens;
        stats.cached = usage.prompt_tokens_details?.cached_tokens || 0;
    }
    if (run.first && stats.tokens > run.at_first && run.last - run.first > SPEED_MS) stats.speed = (stats.tokens - run.at_first) * 1000 / (run.last - run.first);
    return now;
}

async function receive(run, paint) {
    const { node, controller } = run;
    const body = { model: node.model || undefined, messages: messages(run.chat, node.parent), stream: true,
        stream_options: { include_usage: true, continuous_usage_stats: true }, ...sampling() };
    const began = performance.now();
    let saved = began;
    for await (const event of stream(body, controller.signal)) {
        const choice = event.choices[0], text = (choice?.delta?.content || '');
        const thought = choice?.delta?.reasoning_content || '';
        node.wait = '';
        if (thought) node.text += node.text ? thought : `<think>${thought}`;
        if (text) {
            if (run.thinking && !thought) node.text += '</think>';
            node.text += text;
        }
        run.thinking = thought ? true : text ? false : run.thinking;
        if (choice?.finish_reason) node.finish = choice.finish_reason;
        if (text || thought) {
            run.last = performance.now();
            if (!run.first) {
                run.first = run.last;
                run.at_first = event.usage?.completion_tokens || 1;
                (node.stats ||= {}).first = (run.first - began) / 1000;
            }
        }
        const now = measure(run, event.usage);
        paint.soon();
        if (now - saved > SAVE_MS && !deleted.has(run.chat.id)) {
            saved = now;
            store.save(run.chat).catch(() => {});
        }
    }
    if (!node.finish) throw new ApiError(0, { code: 'cut_off' });
}

/* Asks until it is answered, waiting where the server says that it is busy. */
async function persist(run, paint) {
    const { node } = run;
    for (let tries = 1; ; tries++) {
        try {
            await receive(run, paint);
            return;
        } catch (e) {
            const loading = e.code === 'loading';
            if (!passes(e) || node.text || tries > (loading ? LOADING_TRIES : BUSY_TRIES)) throw e;
            const wait = Math.max(e.retry, Math.min(tries, 8) / 2, 0.5);
            node.wait = loading ? 'The model is loading…' : `The server is busy; trying again (${tries} of ${BUSY_TRIES})…`;
            paint.soon();
            if (tries === 1) say(node.wait);
            await pause(wait, run.controller.signal);
        }
    }
}

/* which, once nothing runs there any more. */
async function halted(which) {
    stop(which.id);
    await runs.get(which.id)?.done;
    return which;
}

function answer(which, parent) {
    if (runs.has(which.id)) return;
    const done = carry(which, parent);
    runs.get(which.id).done = done;
}

async function carry(which, parent) {
    const idle = $('model').selectedOptions[0]?.dataset.idle; /* the server loads it first */
    const node = store.add(which, parent, 'assistant', '', { model: $('model').value, running: true, wait: idle ? 'The model is loading…' : '' });
    const run = { chat: which, node, controller: new AbortController(), first: 0, last: 0, at_first: 0 };
    runs.set(which.id, run);
    stick = true;
    if (which === chat) {
        render();
        if (document.activeElement === document.body) views.get(node.id).root.focus({ preventScroll: true });
    }
    changed(which);
    say('The model answers');
    const paint = painter(run);
    try {
        await persist(run, paint);
    } catch (e) {
        if (e.name === 'AbortError') node.finish = 'stopped';
        else {
            node.error = explain(e);
            if (node.text) node.finish = 'cut';
            hooks.erred(e);
        }
    }
    if (idle) hooks.loaded();
    runs.delete(which.id);
    delete node.running;
    delete node.wait;
    which.updated = Date.now();
    paint.last();
    if (which === chat) buttons();
    say(node.error ? `${node.error.title}. ${node.error.text}` : node.finish === 'stopped' ? 'Stopped' : 'The answer is complete');
    await changed(which);
}

/* The same place in the tree, without what failed. */
function retry(node) {
    if (runs.has(chat.id)) return;
    if (!node.text) {
        delete chat.nodes[node.id];
        chat.leaf = node.parent;
    }
    answer(chat, node.parent);
}

function begin(which, parent, text) {
    if (runs.has(which.id)) return;
    const isNew = !Object.keys(which.nodes).length;
    if (isNew) which.title = text.split('\n')[0].replace(/\s+/g, ' ').trim().slice(0, 80) || 'Conversation';
    const node = store.add(which, parent, 'user', text);
    if (isNew) hooks.went(which);
    answer(which, node.id);
}

export function ask(text) {
    begin(chat, chat.leaf, text);
}

export const stop = (id = chat.id) => runs.get(id)?.controller.abort();

/* Stops what runs there; gone: and nothing of it is kept from now on. */
export function forget(id, gone = true) {
    if (gone) deleted.add(id);
    else deleted.delete(id);
    stop(id);
}

/* ---- the message box ---- */

function fit() {
    const box = $('ask');
    box.style.height = 'auto';
    box.style.height = `${Math.min(box.scrollHeight, innerHeight * 0.4)}px`;
    $('send').classList.toggle('idle', !box.value.trim());
}

function submit() {
    const text = $('ask').value.trim();
    if (!text || runs.has(chat.id)) return;
    $('ask').value = '';
    fit();
    ask(text);
}

function editLast() {
    const last = store.branch(chat).filter((n) => n.role === 'user').at(-1);
    views.get(last?.id)?.edit();
}

export function start(given) {
    hooks = given;
    $('composer').addEventListener('submit', (e) => {
        e.preventDefault();
        submit();
    });
    $('ask').addEventListener('input', fit);
    $('ask').addEventListener('keydown', (e) => {
        if (e.key === 'Enter' && !e.shiftKey && !e.isComposing) {
            e.preventDefault();
            submit();
        } else if (e.key === 'ArrowUp' && !$('ask').value && !runs.has(chat.id)) {
            e.preventDefault();
            editLast();
        }
    });
    $('stop').addEventListener('click', () => stop());
    $('down').addEventListener('click', () => {
        stick = true;
        follow();
        $('ask').focus();
    });
    $('scroll').addEventListener('scroll', () => {
        const box = $('scroll');
        stick = box.scrollHeight - box.scrollTop - box.clientHeight < 60;
        $('down').hidden = stick;
    }, { passive: true });
    new ResizeObserver(follow).observe($('scroll'));
    addEventListener('resize', fit);
    fit();
}
