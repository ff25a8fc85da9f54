/* code.js - colours for code: comments, strings, numbers, words that languages keep for themselves. One scanner for all
 * languages; it need not be right, only calm to read, and it never changes the text.
 */
import { el } from './dom.js';

const HASH = ['py', 'python', 'sh', 'bash', 'shell', 'zsh', 'console', 'yaml', 'yml', 'toml', 'ini', 'rb', 'ruby', 'perl', 'r', 'make',
              'makefile', 'dockerfile', 'cmake', 'conf', 'elixir', 'nix'];
const DASH = ['sql', 'lua', 'haskell', 'hs', 'ada', 'vhdl', 'elm'];
const PLAIN = ['', 'text', 'txt', 'plain', 'plaintext', 'output', 'markdown', 'md', 'csv', 'log'];
const LONGEST = 60000;

const WORDS = new Set(`abstract alias and as asm assert async auto await begin bool boolean break byte case catch char class const
constexpr continue crate def default defer del delete do done double dyn echo elif else elseif elsif end enum esac except exit export extends
extern false fi final finally float fn for foreach from func function global go goto if impl implements import in include inline
instanceof int interface is lambda let local long loop match mod module mut namespace new nil None nonlocal not null nullptr of or
override package pass pragma private protected pub public raise range readonly ref register return select self short signed sizeof
static string struct super switch template then this throw throws trait true True False try type typedef typename typeof undefined union
unless unsafe unsigned until use using var virtual void volatile when where while with yield
SELECT FROM WHERE INSERT UPDATE DELETE INTO VALUES CREATE TABLE DROP ALTER JOIN LEFT RIGHT INNER OUTER ON GROUP ORDER BY HAVING
LIMIT AND OR NOT NULL AS DISTINCT PRIMARY KEY SET UNION`.split(/\s+/));

const QUOTED = String.raw`"""[\s\S]*?(?:"""|$)|'''[\s\S]*?(?:'''|$)|"(?:\\.|[^"\\\n])*"?|'(?:\\.|[^'\\\n])*'|` + '`(?:\\\\.|[^`\\\\])*`?';
const NUMBER = String.raw`\b(?:0[xX][\da-fA-F_]+|\d[\d_]*(?:\.\d+)?(?:[eE][-+]?\d+)?)[a-zA-Z]{0,3}\b`;
const WORD = String.raw`^ *#[a-z]+|[A-Za-z_$][\w$]*`;

function scanner(lang) {
    const comment = HASH.includes(lang) ? String.raw`(?:^|(?<=\s))#[^\n]*`
        : DASH.includes(lang) ? String.raw`--[^\n]*|/\*[\s\S]*?(?:\*/|$)`
            : ['html', 'xml', 'svg'].includes(lang) ? String.raw`<!--[\s\S]*?(?:-->|$)`
                : String.raw`//[^\n]*|/\*[\s\S]*?(?:\*/|$)`;
    return new RegExp(`(${comment})|(${QUOTED})|(${NUMBER})|(${WORD})`, 'gm');
}

/* Strings and spans whose text joined is code. */
export function highlight(code, lang) {
    lang = lang.toLowerCase();
    if (PLAIN.includes(lang) || code.length > LONGEST) return [code];
    const out = [];
    let at = 0;
    for (const m of code.matchAll(scanner(lang))) {
        const kind = m[1] ? 'c' : m[2] ? 's' : m[3] ? 'n' : WORDS.has(m[4]) || m[4].includes('#') ? 'k' : null;
        if (!kind) continue;
        if (m.index > at) out.push(code.slice(at, m.index));
        out.push(el('span', { class: `t${kind}` }, m[0]));
        at = m.index + m[0].length;
    }
    out.push(code.slice(at));
    return out;
}
