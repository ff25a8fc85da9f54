/* dom.js - elements without HTML strings. Text is always a text node; the page's policy forbids everything else. */

const SVG = 'http://www.w3.org/2000/svg';

/* One by one: an argument list has its limits. */
function append(node, kids) {
    for (const k of kids) if (k !== undefined && k !== null && k !== false) node.append(k);
}

/* What is inside comes first: an element with dir="auto" looks through its text again at each change. */
function fill(node, props, kids) {
    append(node, kids.flat());
    for (const [name, value] of Object.entries(props)) {
        if (value === undefined || value === null || value === false) continue;
        if (name.startsWith('on')) node.addEventListener(name.slice(2), value);
        else node.setAttribute(name, value === true ? '' : value);
    }
    return node;
}

export const el = (tag, props = {}, ...kids) => fill(document.createElement(tag), props, kids);
export const svg = (tag, props = {}, ...kids) => fill(document.createElementNS(SVG, tag), props, kids);
export const $ = (id) => document.getElementById(id);

/* Outlines on a grid of 24, drawn with a stroke of 1.75. */
const ICONS = {
    menu: 'M4 7h16M4 12h16M4 17h10',
    plus: 'M12 5v14M5 12h14',
    close: 'M6 6l12 12M18 6L6 18',
    send: 'M12 19V5M6 11l6-6 6 6',
    stop: 'M7 7h10v10H7z',
    down: 'M12 5v14M6 13l6 6 6-6',
    tune: 'M4 8h9M19 8h1M4 16h1M11 16h9M16 5.5v5M8 13.5v5',
    sun: 'M12 8a4 4 0 1 0 0 8 4 4 0 0 0 0-8zM12 2.5v2M12 19.5v2M2.5 12h2M19.5 12h2M5.3 5.3l1.4 1.4M17.3 17.3l1.4 1.4M5.3 18.7l1.4-1.4M17.3 6.7l1.4-1.4',
    moon: 'M19.5 14.5A8 8 0 0 1 9.5 4.5a8 8 0 1 0 10 10z',
    auto: 'M12 4a8 8 0 1 0 0 16zM12 4a8 8 0 0 1 0 16',
    copy: 'M9 9h10v11H9zM5 15V4h10',
    check: 'M5 12.5l4.5 4.5L19 7.5',
    redo: 'M19 5v5h-5M18.5 10A7 7 0 1 0 19 13.5',
    edit: 'M5 19l1-4L16 5l3 3L9 18zM14 7l3 3',
    trash: 'M5 7h14M10 7V4h4v3M7 7l1 13h8l1-13',
    save: 'M12 4v11M7 10l5 5 5-5M5 20h14',
    open: 'M12 16V5M7 10l5-5 5 5M5 20h14',
    left: 'M14.5 6l-6 6 6 6',
    right: 'M9.5 6l6 6-6 6',
    key: 'M14.5 4a5.5 5.5 0 1 1-3 10L9 16.5H7v2H4.5V16l5.5-5.5A5.5 5.5 0 0 1 14.5 4zM16 8h.01',
    warn: 'M12 4.5L3 19.5h18zM12 10v4M12 16.8v.2',
    pause: 'M9 6v12M15 6v12',
    play: 'M8 6l10 6-10 6z',
};

export const icon = (name) => svg('svg', { viewBox: '0 0 24 24', class: 'icon', 'aria-hidden': 'true' },
    svg('path', { d: ICONS[name] }));

/* A button with an icon. text is its label; quiet ones show the icon alone and carry the label for readers. */
export function button(name, text, onclick, props = {}) {
    return el('button', { type: 'button', class: 'quiet', 'aria-label': text, title: text, onclick, ...props }, icon(name));
}

export function decorate(root) {
    for (const node of root.querySelectorAll('[data-icon]')) node.prepend(icon(node.dataset.icon));
}

/* ---- numbers and times for people ---- */

export const count = (n) => Number(n).toLocaleString('en', { maximumFractionDigits: 0 });

export function short(n) {
    if (!Number.isFinite(n)) return '–';
    for (const [size, unit] of [[1e9, 'G'], [1e6, 'M'], [1e4, 'k']])
        if (n >= size) return `${(n / (unit === 'k' ? 1e3 : size)).toFixed(1)}${unit}`;
    return n >= 100 || Number.isInteger(n) ? count(n) : n.toFixed(1);
}

export function seconds(s) {
    if (!Number.isFinite(s)) return '–';
    if (s < 0.001) return `${+(s * 1e6).toPrecision(2)} µs`;
    if (s < 1) return `${+(s * 1e3).toPrecision(s < 0.01 ? 2 : 3)} ms`;
    return s < 100 ? `${+s.toPrecision(3)} s` : `${count(s)} s`;
}

export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;

export async function copy(text) {
    try {
        await navigator.clipboard.writeText(text);
        return true;
    } catch {
        const box = el('textarea', { class: 'hidden', readonly: true }); /* plain http on another machine: the old way */
        box.value = text;
        document.body.append(box);
        box.select();
        const done = document.execCommand('copy');
        box.remove();
        return done;
    }
}

/* A quiet button that copies what get() gives and says so. */
export function copyButton(what, get) {
    const b = button('copy', what, async () => {
        const done = await copy(get());
        b.replaceChildren(icon(done ? 'check' : 'warn'));
        say(done ? 'Copied' : 'The browser did not let this page copy');
        setTimeout(() => b.replaceChildren(icon('copy')), 1600);
    });
    return b;
}

/* ---- what a screen reader hears; also shown for a moment where it is news ---- */

export function say(text) {
    const live = $('live');
    live.append(el('p', {}, text));
    while (live.childElementCount > 40) live.firstChild.remove();
}

export function download(name, type, text) {
    const url = URL.createObjectURL(new Blob([text], { type }));
    el('a', { href: url, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(url), 10000);
}

export const narrow = () => matchMedia('(max-width: 899px)').matches;
