/* history.js - the list of kept conversations: by day, searched, saved to a file and read from one, deleted. */
import { forget, isRunning } from './chat.js';
import { $, button, download, el, plural, say } from './dom.js';
import * as store from './store.js';

let hooks;

const DAY = 86400000;

function group(time) {
    const today = new Date().setHours(0, 0, 0, 0);
    if (time >= today) return 'Today';
    if (time >= today - DAY) return 'Yesterday';
    if (time >= today - 6 * DAY) return 'This week';
    return new Date(time).toLocaleDateString(undefined, { month: 'long', year: 'numeric' });
}

/* Asks first; true if the answer is yes. */
export function confirm(title, text) {
    const box = $('confirm');
    $('confirm-title').textContent = title;
    $('confirm-text').textContent = text;
    box.returnValue = '';
    box.showModal();
    return new Promise((resolve) => box.addEventListener('close', () => resolve(box.returnValue === 'yes'), { once: true }));
}

export async function remove(chat) {
    if (!await confirm('Delete this conversation?', `“${chat.title}” is kept in this browser only; there is no way back.`)) return;
    forget(chat.id);
    await store.remove(chat.id);
    say('Conversation deleted');
    await hooks.removed(chat.id);
}

function entry(chat, shown) {
    return el('li', { class: chat.id === shown && 'here' },
        el('a', { href: `#chat/${chat.id}`, 'aria-current': chat.id === shown && 'true', dir: 'auto', title: chat.title },
            isRunning(chat.id) && el('span', { class: 'busy', role: 'img', 'aria-label': 'being answered' }), chat.title || 'Conversation'),
        button('trash', `Delete “${chat.title}”`, () => remove(chat)));
}

const holds = (chat, words) => {
    const text = `${chat.title}\n${Object.values(chat.nodes).map((n) => n.text).join('\n')}`.toLowerCase();
    return words.every((w) => text.includes(w));
};

export async function render() {
    const words = $('search').value.toLowerCase().split(/\s+/).filter(Boolean);
    const all = await store.list(), fit = words.length ? all.filter((c) => holds(c, words)) : all;
    const groups = new Map();
    for (const chat of fit) {
        const name = group(chat.updated);
        if (!groups.has(name)) groups.set(name, []);
        groups.get(name).push(chat);
    }
    const lists = [...groups].map(([name, chats]) => el('section', {}, el('h2', {}, name), el('ul', {}, ...chats.map((c) => entry(c, hooks.shown())))));
    const had = $('chats').contains(document.activeElement) && document.activeElement, name = (e) => e.getAttribute('href') || e.getAttribute('aria-label');
    $('chats').replaceChildren(...(lists.length ? lists : [el('p', { class: 'none' }, all.length ? 'Nothing found.' : 'Conversations will stand here.')]));
    if (had) ([...$('chats').querySelectorAll('a, button')].find((e) => name(e) === name(had)) || $('new')).focus();
    for (const id of ['export', 'clear']) $(id).disabled = !all.length;
}

async function importFile(file) {
    try {
        if (file.size > 100e6) throw new Error('This file is larger than 100 MB.');
        const chats = store.unpack(await file.text());
        for (const chat of chats) {
            forget(chat.id, false);
            await store.save(chat);
        }
        hooks.tell(`${plural(chats.length, 'conversation')} read.`);
    } catch (e) {
        hooks.tell(e.message);
    }
    await render();
}

export function start(given) {
    hooks = given;
    $('search').addEventListener('input', render);
    $('export').addEventListener('click', async () => {
        download(`rocmforge-conversations-${new Date().toISOString().slice(0, 10)}.json`, 'application/json', store.pack(await store.list()));
    });
    $('import').addEventListener('click', () => $('file').click());
    $('file').addEventListener('change', async () => {
        if ($('file').files[0]) await importFile($('file').files[0]);
        $('file').value = '';
    });
    $('clear').addEventListener('click', async () => {
        const all = await store.list();
        if (!await confirm(`Delete all ${plural(all.length, 'conversation')}?`, 'They are kept in this browser only; there is no way back. Export saves them first.')) return;
        for (const chat of all) {
            forget(chat.id);
            await store.remove(chat.id);
        }
        say('All conversations deleted');
        await hooks.removed(null);
    });
}
