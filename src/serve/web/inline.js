/* inline.js - the markdown inside a paragraph to DOM nodes: code, strong, emphasis, strikethrough, links, line breaks.
 *
 * Text comes from a model and may be hostile: it only ever becomes text nodes; a link only with http, https or mailto;
 * an image only its description and a link, because nothing is fetched from elsewhere. HTML is text. The time is about
 * linear: what opens is looked for a bounded way back.
 */
import { el } from './dom.js';

const SPECIAL = /[\\`*_~[\]!<\n]|https?:\/\//g;
const BARE = /https?:\/\/[^\s<>"`]{1,2000}/y;
const ANGLE = /<((?:https?:\/\/|mailto:)[^\s<>]{1,2000})>/y;
const PUNCTUATION = /[!-/:-@[-`{-~]|\p{P}|\p{S}/u;
const SPACE = /\s/;
const BACK = 32;          /* delimiters looked back at */
const ADDRESS_MAX = 2000;
const DEPTH = 12;         /* of emphasis in emphasis */
const TRIES = 20000;      /* characters looked through in vain for the end of an address */

export function safeAddress(text) {
    if (!/^(https?:\/\/|mailto:)/i.test(text)) return null;
    try {
        const url = new URL(text);
        return ['http:', 'https:', 'mailto:'].includes(url.protocol) ? url.href : null;
    } catch {
        return null;
    }
}

const link = (href, kids) => el('a', { href, title: href, target: '_blank', rel: 'noopener noreferrer nofollow' }, kids);

/* "(address "title")" behind a link's text, from at: {address, end}, or {tried} after so many characters without an end. */
function destination(s, at) {
    let i = at + 1, depth = 0, address = '';
    const last = Math.min(s.length, at + ADDRESS_MAX);
    while (i < last && s[i] === ' ') i++;
    if (s[i] === '<') {
        const from = ++i;
        while (i < last && s[i] !== '>' && s[i] !== '\n') i++;
        if (s[i] !== '>') return { tried: i - at };
        address = s.slice(from, i++);
    } else {
        const from = i;
        for (; i < last && !SPACE.test(s[i]); i++) {
            if (s[i] === '\\') i++;
            else if (s[i] === '(') depth++;
            else if (s[i] === ')' && depth-- === 0) break;
        }
        address = s.slice(from, i);
    }
    while (i < last && s[i] === ' ') i++;
    if (s[i] === '"' || s[i] === "'") {
        const quote = s[i++];
        while (i < last && s[i] !== quote) i += s[i] === '\\' ? 2 : 1;
        if (s[i] !== quote) return { tried: i - at };
        i++;
        while (i < last && s[i] === ' ') i++;
    }
    return s[i] === ')' ? { address: address.replace(/\\([!-/:-@[-`{-~])/g, '$1'), end: i + 1 } : { tried: i - at };
}

/* Items hold text, nodes, runs of a delimiter and brackets in order; stack says where the open ones are. */
class Line {
    constructor(s) {
        this.s = s;
        this.items = [];
        this.stack = [];
        this.no_ticks = new Set(); /* lengths of backtick runs that nothing closes */
        this.tries = TRIES;
        this.dead = 0;             /* so many at the bottom of the stack stand before a link: no bracket of them opens another around it */
    }

    text(t) {
        const last = this.items.at(-1);
        if (last?.kind === 'text') last.text += t;
        else if (t) this.items.push({ kind: 'text', text: t });
    }

    open(item) {
        this.stack.push(this.items.length);
        this.items.push(item);
    }

    /* Place in the stack of the nearest open item that fits, -1 if none is near. */
    opener(fits) {
        const n = this.stack.length;
        for (let k = n - 1; k >= 0 && k >= n - BACK; k--) if (fits(this.items[this.stack[k]])) return k;
        return -1;
    }

    /* How deep the nodes from at on are nested. */
    depth(at) {
        let most = 0;
        for (let i = at; i < this.items.length; i++) most = Math.max(most, this.items[i].depth || 0);
        return most;
    }

    plain(k) { /* what the stack holds at k is text after all */
        const item = this.items[this.stack[k]];
        this.stack.splice(k, 1);
        if (k < this.dead) this.dead--;
        item.text = item.kind === 'run' ? item.mark.repeat(item.n) : item.mark;
        item.kind = 'text';
    }

    /* Items from at on, as nodes; they leave the line. */
    take(at) {
        const nodes = [];
        for (const item of this.items.splice(at)) {
            if (item.kind === 'node') nodes.push(item.node);
            else nodes.push(item.kind === 'text' ? item.text : item.kind === 'run' ? item.mark.repeat(item.n) : item.mark);
        }
        while (this.stack.length && this.stack.at(-1) >= at) this.stack.pop();
        this.dead = Math.min(this.dead, this.stack.length);
        return nodes;
    }

    ticks(at) {
        const { s } = this;
        let n = 1;
        while (s[at + n] === '`') n++;
        if (!this.no_ticks.has(n)) {
            for (let i = at + n; (i = s.indexOf('`', i)) >= 0;) {
                let m = 1;
                while (s[i + m] === '`') m++;
                if (m === n) {
                    let inside = s.slice(at + n, i).replace(/\n/g, ' ');
                    if (/^ .*[^ ].* $/.test(inside)) inside = inside.slice(1, -1);
                    this.items.push({ kind: 'node', node: el('code', {}, inside) });
                    return i + m;
                }
                i += m;
            }
            this.no_ticks.add(n);
        }
        this.text('`'.repeat(n));
        return at + n;
    }

    /* A run of * _ or ~: closes what it can, and opens with what is left. */
    run(at) {
        const { s } = this, mark = s[at];
        let n = 1;
        while (s[at + n] === mark) n++;
        const before = at ? s[at - 1] : ' ', after = at + n < s.length ? s[at + n] : ' ';
        const left = !SPACE.test(after) && (!PUNCTUATION.test(after) || SPACE.test(before) || PUNCTUATION.test(before));
        const right = !SPACE.test(before) && (!PUNCTUATION.test(before) || SPACE.test(after) || PUNCTUATION.test(after));
        const end = at + n;
        const opens = mark === '_' ? left && (!right || PUNCTUATION.test(before)) : left;
        const closes = mark === '_' ? right && (!left || PUNCTUATION.test(after)) : right;
        if (mark === '~' && n !== 2) {
            this.text(mark.repeat(n));
            return end;
        }
        while (closes && n > 0) {
            const k = this.opener((item) => item.kind === 'run' && item.mark === mark);
            if (k < 0) break;
            const where = this.stack[k], opener = this.items[where];
            if (where === this.items.length - 1) break;
            const depth = this.depth(where + 1) + 1;
            if (depth > DEPTH) {
                this.plain(k);
                break;
            }
            const use = mark === '~' || (n >= 2 && opener.n >= 2) ? 2 : 1;
            const node = el(mark === '~' ? 'del' : use === 2 ? 'strong' : 'em', {}, this.take(where + 1));
            opener.n -= use;
            n -= use;
            if (!opener.n) {
                this.take(where);
            }
            this.items.push({ kind: 'node', node, depth });
        }
        if (n > 0 && opens && n <= 8) this.open({ kind: 'run', mark, n });
        else this.text(mark.repeat(n));
        return end;
    }

    bracket(at) {
        const k = this.opener((item) => item.kind === 'bracket'), where = this.stack[k], opener = this.items[where];
        if (k < 0) {
            this.text(']');
            return at + 1;
        }
        const to = this.s[at + 1] === '(' && k >= this.dead && this.tries > 0 ? destination(this.s, at + 1) : null;
        const href = to?.end && safeAddress(to.address), depth = this.depth(where + 1);
        if (to && !to.end) this.tries -= to.tried;
        if (!href) { /* it stays text, also where the address is none that may be followed */
            this.plain(k);
            this.text(']');
            return at + 1;
        }
        const kids = this.take(where + 1);
        this.take(where);
        this.dead = this.stack.length;
        this.items.push({ kind: 'node', node: link(href, kids.length ? kids : [href]), depth });
        return to.end;
    }

    address(at) {
        BARE.lastIndex = at;
        let [found] = BARE.exec(this.s) || [''];
        let n = found.length, open = found.split('(').length - found.split(')').length; /* below 0: more close than open */
        for (; n && /[.,;:!?'")*_~\]]/.test(found[n - 1]) && !(found[n - 1] === ')' && open >= 0); n--) if (found[n - 1] === ')') open++;
        found = found.slice(0, n);
        const href = found.length > 8 && !this.in_link() ? safeAddress(found) : null;
        if (href) this.items.push({ kind: 'node', node: link(href, [found]) });
        else this.text(found ||= this.s.slice(at, at + 4));
        return at + found.length;
    }

    in_link() {
        return this.opener((item) => item.kind === 'bracket') >= 0;
    }

    angle(at) {
        ANGLE.lastIndex = at;
        const found = ANGLE.exec(this.s), href = found && safeAddress(found[1]);
        if (!href) {
            this.text('<');
            return at + 1;
        }
        this.items.push({ kind: 'node', node: link(href, [found[1]]) });
        return at + found[0].length;
    }

    step(at) {
        const { s } = this;
        switch (s[at]) {
        case '\\':
            if (s[at + 1] === '\n') return at + 1;
            if (!/[!-/:-@[-`{-~]/.test(s[at + 1] || '')) break;
            this.text(s[at + 1]);
            return at + 2;
        case '`': return this.ticks(at);
        case '*': case '_': case '~': return this.run(at);
        case '!':
            if (s[at + 1] !== '[') break;
            this.open({ kind: 'bracket', mark: '![' });
            return at + 2;
        case '[':
            this.open({ kind: 'bracket', mark: '[' });
            return at + 1;
        case ']': return this.bracket(at);
        case '<': return this.angle(at);
        case 'h': return this.address(at);
        case '\n':
            this.items.push({ kind: 'node', node: el('br') });
            return at + 1;
        }
        this.text(s[at]);
        return at + 1;
    }
}

/* Nodes and strings, ready for append. */
export function inline(s) {
    const line = new Line(s);
    for (let at = 0; at < s.length;) {
        SPECIAL.lastIndex = at;
        const found = SPECIAL.exec(s);
        if (!found) {
            line.text(s.slice(at));
            break;
        }
        line.text(s.slice(at, found.index));
        at = line.step(found.index);
    }
    return line.take(0);
}
