/* app.js - puts the page together: what the address shows, the models, what the server's state is. */
import { explain, request } from './api.js';
import * as chat from './chat.js';
import { $, el } from './dom.js';
import * as history_list from './history.js';
import * as server from './server.js';
import * as settings from './settings.js';
import * as store from './store.js';

const RETRY_MS = 2500;

/* ---- notices above the page ---- */

let noticed = null, fading = 0;

/* kind: what the notice is about, so that one can be taken back without touching another; null text takes it back. */
function notice(kind, text, label, act) {
    if (text === null && noticed !== kind) return;
    if (text !== null && noticed === kind && $('notice').firstChild?.textContent === text) return;
    clearTimeout(fading);
    noticed = text === null ? null : kind;
    $('notice').replaceChildren(...(text === null ? [] : [el('span', {}, text), label && el('button', { type: 'button', onclick: act }, label)].filter(Boolean)));
}

function tell(text) {
    notice('word', text);
    fading = setTimeout(() => notice('word', null), 8000);
}

/* ---- models and the server's state ---- */

let timer = 0;

function fillModels(list) {
    const box = $('model'), ids = list.map((m) => m.id);
    const chosen = ids.includes(store.settings.model) ? store.settings.model : list.find((m) => m.meta)?.id || ids[0] || '';
    const same = ids.length && ids.join('\n') === [...box.options].map((o) => o.value).join('\n');
    if (!same) box.replaceChildren(...(ids.length ? ids.map((id) => el('option', { value: id }, id)) : [el('option', { value: '' }, 'no model')]));
    box.value = chosen;
    list.forEach((m, i) => { box.options[i].dataset.idle = m.meta ? '' : 'yes'; });
    const m = list.find((x) => x.id === chosen);
    box.title = m?.meta ? `${m.meta.architecture}, ${m.meta.quantization}, ${m.max_model_len} tokens of context` : chosen;
}

async function check() {
    clearTimeout(timer);
    try {
        fillModels((await (await request('v1/models')).json()).data);
        await request('health');
        notice('server', null);
    } catch (e) {
        if (e.status === 401) {
            notice('server', 'This server wants an API key.', 'Enter it', () => settings.show(true, 'key'));
            return;
        }
        notice('server', e.status === 0 ? 'The server does not answer. Trying again…' : `${explain(e).title}…`);
        timer = setTimeout(check, RETRY_MS);
    }
}

/* ---- what the address shows ---- */

async function route() {
    const at = location.hash.slice(1), is_server = at === 'metrics' || at === 'server';
    $('view-chat').hidden = is_server;
    $('view-server').hidden = !is_server;
    for (const [id, on] of [['tab-chat', !is_server], ['tab-server', is_server]]) {
        if (on) $(id).setAttribute('aria-current', 'page');
        else $(id).removeAttribute('aria-current');
    }
    server.show(is_server);
    $('skip').textContent = is_server ? 'Skip to the numbers' : 'Skip to the message box';
    if (is_server) {
        document.title = 'Server · ROCmForge';
        return;
    }
    const id = at.startsWith('chat/') ? at.slice(5) : null;
    if (id && id !== chat.current().id) {
        const found = await store.load(id);
        if (found) chat.show(found);
        else {
            history.replaceState(null, '', '#chat');
            tell('That conversation is not kept in this browser.');
            chat.show(store.create());
        }
    } else if (!id && Object.keys(chat.current().nodes).length) {
        chat.show(store.create());
    } else {
        chat.render();
    }
    $('tab-chat').href = id ? `#chat/${id}` : '#chat';
    await history_list.render();
}

function fresh() {
    if (location.hash === '#chat') route();
    else location.hash = '#chat';
    settings.closeDrawers();
    $('ask').focus();
}

function keys(e) {
    const typing = e.target.closest?.('input, textarea, select, dialog');
    if (e.key === 'Escape' && !$('confirm').open) {
        if (!settings.closeDrawers()) chat.stop();
    } else if (e.key === '/' && !typing && !e.ctrlKey && !e.metaKey && !e.altKey && !$('view-chat').hidden) {
        e.preventDefault();
        $('ask').focus();
    }
}

async function start() {
    const kept = await store.open();
    settings.start(check);
    server.start();
    chat.start({
        changed: () => history_list.render(),
        went(which) {
            history.replaceState(null, '', `#chat/${which.id}`);
            $('tab-chat').href = `#chat/${which.id}`;
        },
        failed: tell,
        erred(e) {
            if (e.status === 0 || e.status === 401 || e.status === 404) check();
        },
        loaded: check,
        remove: history_list.remove,
        fresh,
    });
    history_list.start({
        shown: () => chat.current().id,
        tell,
        async removed(id) {
            if (id === null || id === chat.current().id) {
                chat.show(store.create());
                fresh();
            }
            await history_list.render();
        },
    });
    store.onchange((id) => {
        history_list.render();
        if (id === chat.current().id && !chat.isRunning(id)) store.load(id).then((found) => found && chat.show(found));
    });
    $('new').addEventListener('click', fresh);
    $('chats').addEventListener('click', (e) => e.target.closest('a') && settings.closeDrawers());
    $('model').addEventListener('change', () => {
        store.settings.model = $('model').value;
        store.keep();
        check();
    });
    $('skip').addEventListener('click', (e) => {
        e.preventDefault();
        ($('view-chat').hidden ? $('view-server').querySelector('h1') : $('ask')).focus();
    });
    addEventListener('hashchange', route);
    addEventListener('keydown', keys);
    addEventListener('focus', check);
    await route();
    if (!kept) tell('This browser keeps nothing for this page; conversations last until it is closed.');
    if (!$('view-chat').hidden && matchMedia('(hover: hover)').matches) $('ask').focus();
    await check();
    document.documentElement.dataset.ready = '';
}

start();
