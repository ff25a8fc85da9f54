/* markdown.js - markdown as models write it, to DOM nodes: headings, paragraphs, lists, quotes, tables, code.
 *
 * Text is cut into blocks by lines; a block knows its source, so that while an answer streams only what changed is built
 * again (class Live). Whatever is not finished yet (an open fence, half a table) is shown as far as it goes. Depth and
 * sizes are bounded; beyond them text stays plain.
 */
import { el, copyButton } from './dom.js';
import { inline } from './inline.js';
import { highlight } from './code.js';

const FENCE = /^( *)(`{3,}|~{3,})([^`]*)$/;
const ITEM = /^( *)([-*+]|\d{1,9}[.)])( +|$)/;
const DEPTH = 8;
const CELLS = 20000;
const TALL = 40; /* a table with more rows scrolls in its own box */

const indent = (line) => line.length - line.trimStart().length;

function rule(line) {
    const s = line.replace(/[ \t]/g, '');
    return s.length > 2 && '-*_'.includes(s[0]) && s === s[0].repeat(s.length);
}

function cells(line) {
    const out = [];
    let cell = '';
    for (let i = 0; i < line.length; i++) {
        if (line[i] === '\\' && line[i + 1] === '|') cell += line[++i];
        else if (line[i] === '|') {
            out.push(cell.trim());
            cell = '';
        } else cell += line[i];
    }
    out.push(cell.trim());
    if (out[0] === '') out.shift();
    if (out.at(-1) === '') out.pop();
    return out;
}

const ruler = (line) => line !== undefined && line.includes('-') && /^[|: \t-]+$/.test(line) && cells(line).every((c) => /^:?-+:?$/.test(c));

/* What begins at lines[at] and is no paragraph: its kind, or null. */
function kindAt(lines, at, depth) {
    const line = lines[at], s = line.trimStart();
    if (!s) return 'blank';
    if (FENCE.test(line)) return 'code';
    if (/^#{1,6}([ \t]|$)/.test(s) && indent(line) < 4) return 'heading';
    if ('-*_'.includes(s[0]) && rule(line)) return 'rule';
    if (depth < DEPTH && s[0] === '>') return 'quote';
    if (depth < DEPTH && ITEM.test(line)) return 'list';
    if (line.includes('|') && ruler(lines[at + 1]) && cells(line).length === cells(lines[at + 1]).length) return 'table';
    return null;
}

const readers = {
    code(lines, at) {
        const [, pad, fence, info] = FENCE.exec(lines[at]);
        let end = at + 1;
        const closes = (line) => {
            const s = line.trim();
            return s.length >= fence.length && s === fence[0].repeat(s.length);
        };
        while (end < lines.length && !closes(lines[end])) end++;
        const body = lines.slice(at + 1, end).map((l) => l.slice(Math.min(pad.length, indent(l))));
        return { end: Math.min(end + 1, lines.length), text: body.join('\n'), lang: info.trim().split(/\s/)[0].slice(0, 30) };
    },
    heading(lines, at) {
        const s = lines[at].trim(), level = /^#+/.exec(s)[0].length;
        let text = s.slice(level).trim(), n = text.length;
        while (n && text[n - 1] === '#') n--;
        if (n < text.length && (!n || text[n - 1] === ' ')) text = text.slice(0, n).trimEnd();
        return { end: at + 1, level, text };
    },
    rule: (lines, at) => ({ end: at + 1 }),
    quote(lines, at, depth) {
        let end = at;
        while (end < lines.length && lines[end].trimStart()[0] === '>') end++;
        const inside = lines.slice(at, end).map((l) => l.trimStart().slice(1).replace(/^ /, ''));
        return { end, blocks: parse(inside, depth + 1) };
    },
    list(lines, at, depth) {
        const first = ITEM.exec(lines[at]), ordered = /\d/.test(first[2]), items = [];
        let end = at, loose = false;
        while (end < lines.length) {
            const head = ITEM.exec(lines[end]);
            if (!head || /\d/.test(head[2]) !== ordered || head[1].length > first[1].length + 1 || rule(lines[end])) break;
            const width = head[0].length, body = [lines[end++].slice(width)];
            for (let blank = 0; end < lines.length; end++) {
                const line = lines[end], deep = indent(line);
                if (!line.trim()) {
                    blank++;
                    body.push('');
                    continue;
                }
                const mine = deep >= Math.min(width, head[1].length + 2);
                if (!mine && (blank || kindAt(lines, end, depth))) break;
                if (blank && mine && !ITEM.test(line)) loose = true;
                blank = 0;
                body.push(line.slice(Math.min(deep, width)));
            }
            let gap = 0;
            while (body.length && body.at(-1) === '') gap = body.pop() === '' ? 1 : 0;
            if (gap && end < lines.length && ITEM.test(lines[end])) loose = true;
            items.push(parse(body, depth + 1));
        }
        return { end, ordered, loose, items, start: ordered ? parseInt(first[2], 10) : 1 };
    },
    table(lines, at) {
        const head = cells(lines[at]), sides = cells(lines[at + 1]).map((c) => (c.endsWith(':') ? (c[0] === ':' ? 'center' : 'end') : 'start'));
        let end = at + 2;
        while (end < lines.length && lines[end].includes('|')) end++;
        if ((end - at) * head.length > CELLS) return { end, kind: 'code', lang: '', text: lines.slice(at, end).join('\n') };
        return { end, head, sides, rows: lines.slice(at + 2, end).map(cells) };
    },
};

export function parse(lines, depth = 0) {
    const out = [];
    for (let at = 0; at < lines.length;) {
        const kind = kindAt(lines, at, depth);
        if (kind === 'blank') {
            at++;
            continue;
        }
        let block;
        if (kind) block = { kind, ...readers[kind](lines, at, depth) };
        else {
            let end = at + 1;
            while (end < lines.length && !kindAt(lines, end, depth)) end++;
            block = { kind: 'text', end, text: lines.slice(at, end).map((l) => l.trim()).join('\n') };
        }
        if (!depth) block.source = lines.slice(at, block.end).join('\n');
        out.push(block);
        at = block.end;
    }
    return out;
}

const builders = {
    text: (b) => el('p', { dir: 'auto' }, inline(b.text)),
    heading: (b) => el(`h${Math.min(b.level + 2, 6)}`, { dir: 'auto' }, inline(b.text)),
    rule: () => el('hr'),
    quote: (b) => el('blockquote', {}, b.blocks.map(build)),
    list(b) {
        const item = (blocks) => {
            const task = blocks[0]?.kind === 'text' && /^\[([ xX])\] /.exec(blocks[0].text), kids = [];
            if (task) {
                const done = task[1] !== ' ';
                kids.push(el('span', { class: 'task', role: 'img', 'aria-label': done ? 'done' : 'open' }, done ? '☑' : '☐'));
                blocks[0].text = blocks[0].text.slice(4);
            }
            for (const k of blocks) kids.push(!b.loose && k.kind === 'text' ? inline(k.text) : build(k));
            return el('li', { dir: 'auto', class: task && 'todo' }, kids.flat());
        };
        return el(b.ordered ? 'ol' : 'ul', { start: b.start !== 1 && b.start }, b.items.map(item));
    },
    table(b) {
        const row = (tag, texts) => el('tr', {}, b.head.map((_, i) =>
            el(tag, { class: b.sides[i] || 'start', scope: tag === 'th' && 'col', dir: 'auto' }, inline(texts[i] || ''))));
        return el('div', { class: b.rows.length > TALL ? 'table tall' : 'table', tabindex: 0, role: 'region', 'aria-label': 'Table' },
            el('table', {}, el('thead', {}, row('th', b.head)), el('tbody', {}, b.rows.map((r) => row('td', r)))));
    },
    code(b) {
        return el('figure', { class: 'code' },
            el('figcaption', {}, el('span', {}, b.lang || 'text'), copyButton('Copy code', () => b.text)),
            el('pre', { tabindex: 0, 'aria-label': `Code, ${b.lang || 'text'}` }, el('code', {}, highlight(b.text, b.lang))));
    },
};

const build = (block) => builders[block.kind](block);
export const blocks = (text) => parse(text.replace(/\r\n?/g, '\n').replace(/\t/g, '    ').split('\n'));
export const render = (text) => blocks(text).map(build);

/* Keeps root showing a text that grows. onblock(text) is called for each block that is finished. */
export class Live {
    constructor(root, onblock = () => {}) {
        this.root = root;
        this.sources = [];
        this.told = 0;
        this.onblock = onblock;
    }

    show(text, done) {
        const now = blocks(text);
        let same = 0;
        while (same < now.length && same < this.sources.length && now[same].source === this.sources[same]) same++;
        while (this.root.childElementCount > same) this.root.lastChild.remove();
        for (const b of now.slice(same)) this.root.append(build(b));
        this.sources = now.map((b) => b.source);
        const finished = done ? now.length : now.length - 1;
        for (; this.told < finished; this.told++) this.onblock(this.root.children[this.told]?.textContent || '');
    }
}
