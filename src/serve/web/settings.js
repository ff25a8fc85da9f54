/* settings.js - the panel at the right: system prompt, sampling, key. Empty fields are not sent, so that the model's own
 * recommendation holds. Also the theme.
 */
import { $, button, decorate, el, icon, narrow } from './dom.js';
import { key, keep, settings } from './store.js';

/* name, label, least, most, step, what the slider shows while nothing is set, explanation */
const NUMBERS = [
    ['temperature', 'Temperature', 0, 2, 0.05, 1, '0 always takes the likeliest word; higher is more varied.'],
    ['top_p', 'Top P', 0, 1, 0.01, 1, 'Only the likeliest words that together have this probability.'],
    ['top_k', 'Top K', 0, 200, 1, 0, 'Only this many of the likeliest words; 0 takes all.'],
    ['min_p', 'Min P', 0, 1, 0.01, 0, 'No word less likely than this part of the likeliest.'],
    ['repetition_penalty', 'Repetition penalty', 0.5, 2, 0.01, 1, 'Above 1 avoids words that stand there already.'],
    ['presence_penalty', 'Presence penalty', -2, 2, 0.05, 0, 'Above 0 leads to new subjects.'],
    ['frequency_penalty', 'Frequency penalty', -2, 2, 0.05, 0, 'Above 0 avoids words the more often they stand there.'],
];
const WHOLE = [
    ['max_tokens', 'Longest answer', 1, 2147483647, 'In tokens; empty is to the end of the context.'],
    ['seed', 'Seed', -9007199254740991, 9007199254740991, 'The same seed gives the same answer again.'],
];

/* What goes into a request. */
export function sampling() {
    const out = {};
    for (const [name] of [...NUMBERS, ...WHOLE]) if (Number.isFinite(settings.sampling[name])) out[name] = settings.sampling[name];
    const stop = (settings.sampling.stop || '').split('\n').filter((s) => s);
    if (stop.length) out.stop = stop;
    return out;
}

function set(name, value) {
    if (value === undefined || value === '') delete settings.sampling[name];
    else settings.sampling[name] = value;
    keep();
}

function slider([name, label, least, most, step, neutral, why]) {
    const id = `set-${name}`;
    const number = el('input', { id, type: 'number', min: least, max: most, step, placeholder: 'default', inputmode: 'decimal', 'aria-describedby': `${id}-why` });
    const range = el('input', { type: 'range', min: least, max: most, step, 'aria-label': `${label}, slider` });
    const unset = button('close', `${label}: use the model's default`, () => {
        set(name);
        show();
        number.focus();
    });
    const show = () => {
        const v = settings.sampling[name], own = Number.isFinite(v);
        number.value = own ? v : '';
        slide(own ? v : neutral, own);
    };
    const slide = (v, own) => {
        range.value = v;
        range.style.setProperty('--at', `${100 * (range.value - least) / (most - least)}%`);
        range.classList.toggle('unset', !own);
        unset.hidden = !own;
    };
    number.addEventListener('input', () => {
        const v = number.value === '' || !number.validity.valid ? undefined : number.valueAsNumber;
        number.setAttribute('aria-invalid', String(!number.validity.valid));
        set(name, v);
        slide(v ?? neutral, v !== undefined);
    });
    number.addEventListener('blur', show);
    range.addEventListener('input', () => {
        set(name, range.valueAsNumber);
        show();
    });
    show();
    return el('div', { class: 'field' }, el('div', { class: 'row' }, el('label', { for: id }, label), el('div', { class: 'grow' }), unset, number),
        range, el('p', { id: `${id}-why`, class: 'why' }, why));
}

function whole([name, label, least, most, why]) {
    const id = `set-${name}`;
    const input = el('input', { id, type: 'number', min: least, max: most, step: 1, placeholder: 'default', inputmode: 'numeric', 'aria-describedby': `${id}-why` });
    input.value = settings.sampling[name] ?? '';
    input.addEventListener('input', () => set(name, input.value === '' || !input.validity.valid ? undefined : input.valueAsNumber));
    return el('div', { class: 'field' }, el('div', { class: 'row' }, el('label', { for: id }, label), el('div', { class: 'grow' }), input),
        el('p', { id: `${id}-why`, class: 'why' }, why));
}

function area(id, label, value, rows, why, oninput) {
    const box = el('textarea', { id, rows, 'aria-describedby': `${id}-why`, oninput: () => oninput(box.value) });
    box.value = value;
    return el('div', { class: 'field' }, el('label', { for: id }, label), box, el('p', { id: `${id}-why`, class: 'why' }, why));
}

function keyField(onkey) {
    const input = el('input', { id: 'key', type: 'password', autocomplete: 'off', spellcheck: 'false', placeholder: 'none', 'aria-describedby': 'key-why' });
    const kept = el('input', { id: 'key-kept', type: 'checkbox' });
    input.value = key.value;
    kept.checked = key.kept;
    const change = () => {
        key.set(input.value.trim(), kept.checked);
        onkey();
    };
    input.addEventListener('change', change);
    kept.addEventListener('change', change);
    return el('div', { class: 'field' }, el('label', { for: 'key' }, 'API key'), input,
        el('label', { class: 'check' }, kept, 'Remember it in this browser'),
        el('p', { id: 'key-why', class: 'why' }, 'Only where the server was started with one. Otherwise it is forgotten with this tab.'));
}

export function build(onkey) {
    const reset = el('button', { type: 'button', class: 'wide', onclick: () => {
        settings.sampling = {};
        keep();
        build(onkey);
        $('panel').querySelector('h2').focus();
    } }, 'Back to the model’s defaults');
    $('panel').replaceChildren(
        el('div', { class: 'brand' }, el('h2', { tabindex: -1 }, 'Settings'), button('close', 'Close settings', () => show(false))),
        el('div', { class: 'fields' },
            area('system', 'System prompt', settings.system, 4, 'Stands before every conversation.', (v) => {
                settings.system = v;
                keep();
            }),
            el('h3', {}, 'Sampling'),
            ...NUMBERS.map(slider), ...WHOLE.map(whole),
            area('set-stop', 'Stop strings', settings.sampling.stop || '', 2, 'One per line, at most four.', (v) => set('stop', v)),
            reset,
            el('h3', {}, 'Access'), keyField(onkey),
            el('h3', {}, 'Keys'),
            el('dl', { class: 'keys' }, ...[['Enter', 'send'], ['Shift Enter', 'new line'], ['Esc', 'stop the answer'], ['↑', 'in an empty box: edit the last question'],
                ['/', 'to the message box']].flatMap(([k, what]) => [el('dt', {}, ...k.split(' ').map((x) => el('kbd', {}, x))), el('dd', {}, what)]))));
}

/* ---- drawers: at the side on wide windows, over the page on narrow ones ---- */

let back = null; /* where the focus came from */

function cover(drawer, open) {
    const over = open && narrow();
    $('scrim').hidden = !over;
    for (const id of ['skip', 'middle', 'side', 'panel']) $(id).toggleAttribute('inert', over && $(id) !== drawer);
}

export function drawer(node, opener, open, focus = node) {
    if (open) back = opener;
    node.classList.toggle('open', open);
    opener.setAttribute('aria-expanded', String(open));
    cover(node, open);
    if (open) focus.focus();
    else if (node.contains(document.activeElement) || document.activeElement === document.body) (back || opener).focus();
}

export function show(open, field) {
    $('panel').hidden = !open;
    drawer($('panel'), $('tune'), open, (field && $(field)) || $('panel').querySelector('h2'));
}

export const showSide = (open) => drawer($('side'), $('menu'), open);

export function closeDrawers() {
    if ($('side').classList.contains('open')) showSide(false);
    else if (!$('panel').hidden) show(false);
    else return false;
    return true;
}

/* ---- theme ---- */

const THEMES = { auto: ['auto', 'Theme: as the system'], light: ['sun', 'Theme: light'], dark: ['moon', 'Theme: dark'] };

export function theme(next) {
    const names = Object.keys(THEMES);
    if (next) {
        settings.theme = names[(names.indexOf(settings.theme) + 1) % names.length];
        keep();
    }
    const [picture, label] = THEMES[settings.theme] || THEMES.auto;
    if (settings.theme === 'auto') delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = settings.theme;
    $('theme').replaceChildren(icon(picture));
    $('theme').setAttribute('aria-label', label);
    $('theme').title = label;
    const paint = getComputedStyle(document.documentElement).getPropertyValue('--paper').trim();
    document.querySelector('meta[name="theme-color"]').content = paint;
}

export function start(onkey) {
    decorate(document);
    theme();
    build(onkey);
    $('theme').addEventListener('click', () => theme(true));
    $('tune').addEventListener('click', () => show($('panel').hidden));
    $('menu').addEventListener('click', () => showSide(!$('side').classList.contains('open')));
    $('side').querySelector('.close').addEventListener('click', () => showSide(false));
    $('scrim').addEventListener('click', closeDrawers);
    matchMedia('(max-width: 899px)').addEventListener('change', () => {
        if ($('side').classList.contains('open')) showSide(false);
        cover($('panel'), !$('panel').hidden);
    });
}
