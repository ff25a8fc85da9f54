/* store.js - what this browser keeps: conversations (IndexedDB) and settings (localStorage). Nothing of it is sent anywhere
 * but, as messages, to the server that this page came from.
 *
 * A conversation is a tree of messages, because an edit or another try begins a branch: {id, title, created, updated,
 * leaf, nodes: {id: {id, parent, role, text, time, ...}}}. leaf is the end of the branch that is shown.
 */

const DB = 'rocmforge', TABLE = 'conversations';
const channel = 'BroadcastChannel' in window ? new BroadcastChannel(DB) : null;

let base = null;            /* the open data base, or null where the browser gives none */
const memory = new Map();   /* used then */

const done = (request) => new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
});

export async function open() {
    try {
        const request = indexedDB.open(DB, 1);
        request.onupgradeneeded = () => request.result.createObjectStore(TABLE, { keyPath: 'id' });
        base = await done(request);
    } catch {
        base = null;
    }
    return base !== null;
}

async function table(mode, use) {
    const request = use(base.transaction(TABLE, mode).objectStore(TABLE));
    return done(request);
}

export async function list() {
    const all = base ? await table('readonly', (t) => t.getAll()) : [...memory.values()];
    return all.sort((a, b) => b.updated - a.updated);
}

export const load = (id) => (base ? table('readonly', (t) => t.get(id)) : Promise.resolve(memory.get(id)));

export async function save(chat) {
    if (base) await table('readwrite', (t) => t.put(chat));
    else memory.set(chat.id, structuredClone(chat));
    channel?.postMessage(chat.id);
}

export async function remove(id) {
    if (base) await table('readwrite', (t) => t.delete(id));
    else memory.delete(id);
    channel?.postMessage(id);
}

/* f(id) when another tab of this browser changed a conversation. */
export function onchange(f) {
    if (channel) channel.onmessage = (event) => f(event.data);
}

/* ---- the tree ---- */

const fresh = () => Array.from(crypto.getRandomValues(new Uint8Array(9)), (b) => b.toString(36).padStart(2, '0')).join('');

export const create = () => ({ id: fresh(), title: '', created: Date.now(), updated: Date.now(), leaf: null, nodes: {} });

export function add(chat, parent, role, text, more = {}) {
    const node = { id: fresh(), parent, role, text, time: Date.now(), ...more };
    chat.nodes[node.id] = node;
    chat.leaf = node.id;
    chat.updated = Date.now();
    return node;
}

/* Messages from the first to id. */
export function branch(chat, id = chat.leaf) {
    const out = [];
    for (let node = chat.nodes[id]; node; node = chat.nodes[node.parent]) out.unshift(node);
    return out;
}

export const siblings = (chat, node) => Object.values(chat.nodes).filter((n) => n.parent === node.parent && n.role === node.role)
    .sort((a, b) => a.time - b.time);

/* Shows the branch that goes through node, to its newest end. */
export function turn(chat, node) {
    const children = (id) => Object.values(chat.nodes).filter((n) => n.parent === id).sort((a, b) => b.time - a.time);
    let at = node;
    for (let next = children(at.id)[0]; next; next = children(at.id)[0]) at = next;
    chat.leaf = at.id;
}

/* ---- files ---- */

export const pack = (chats) => JSON.stringify({ format: 'rocmforge-conversations', version: 1, conversations: chats }, null, 1);

const isText = (v, most) => typeof v === 'string' && v.length <= most;

/* A strange file's conversation, rebuilt from the fields that are known; null if it is none. */
function accept(c) {
    if (!c || !isText(c.id, 64) || !isText(c.title, 500) || typeof c.nodes !== 'object' || !c.nodes) return null;
    const out = { id: c.id, title: c.title, created: Number(c.created) || Date.now(), updated: Number(c.updated) || Date.now(), leaf: null, nodes: {} };
    const known = new Map();
    for (const n of Object.values(c.nodes)) {
        if (!n || !isText(n.id, 64) || !isText(n.text, 5e6) || !['user', 'assistant'].includes(n.role)) return null;
        known.set(n.id, n);
    }
    for (const n of known.values()) {
        const seen = new Set();
        for (let at = n; at; at = known.get(at.parent)) { /* a tree has no circles */
            if (seen.has(at.id)) return null;
            seen.add(at.id);
        }
        const node = { id: n.id, parent: known.has(n.parent) ? n.parent : null, role: n.role, text: n.text, time: Number(n.time) || 0 };
        if (isText(n.model, 500)) node.model = n.model;
        if (isText(n.finish, 20)) node.finish = n.finish;
        out.nodes[n.id] = node;
    }
    out.leaf = known.has(c.leaf) ? c.leaf : [...known.keys()].at(-1) ?? null;
    return out;
}

export function unpack(text) {
    let file;
    try {
        file = JSON.parse(text);
    } catch {
        throw new Error('This file is not JSON. Choose one that Export saved.');
    }
    const found = Array.isArray(file?.conversations) ? file.conversations.map(accept) : [];
    if (!found.length || found.includes(null)) throw new Error('This file holds no conversations as Export saves them.');
    return found;
}

export function asMarkdown(chat) {
    const parts = [`# ${chat.title || 'Conversation'}`];
    for (const n of branch(chat)) parts.push(`## ${n.role === 'user' ? 'You' : n.model || 'Answer'}`, n.text);
    return `${parts.join('\n\n')}\n`;
}

/* ---- settings ---- */

const KEY = 'rocmforge.settings', SECRET = 'rocmforge.key';

function read(box, name, otherwise) {
    try {
        return JSON.parse(box.getItem(name)) ?? otherwise;
    } catch {
        return otherwise;
    }
}

export const settings = { theme: 'auto', model: '', system: '', sampling: {}, ...read(localStorage, KEY, {}) };

export function keep() {
    try {
        localStorage.setItem(KEY, JSON.stringify(settings));
    } catch { /* a browser that keeps nothing: the settings last as long as the page */ }
}

/* The API key stands by itself: for this tab, or, if wished, for this browser. */
export const key = {
    value: read(sessionStorage, SECRET, null) ?? read(localStorage, SECRET, ''),
    kept: read(localStorage, SECRET, null) !== null,
    set(value, kept) {
        this.value = value;
        this.kept = kept;
        try {
            for (const box of [sessionStorage, localStorage]) box.removeItem(SECRET);
            if (value) (kept ? localStorage : sessionStorage).setItem(SECRET, JSON.stringify(value));
        } catch { /* as above */ }
    },
};
