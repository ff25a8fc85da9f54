"""What a model writes stays text: markdown in headless Chromium, with tags, addresses, tables and nesting that mean harm.

Random texts come from RF_TEST_SEED; the seed is printed.
"""
import os
import random
import re
import string

import pytest
from browser import chromium, page  # noqa: F401

pytestmark = [pytest.mark.fake, pytest.mark.slow]
SEED = int(os.environ.get("RF_TEST_SEED", "20260101"))
RENDER = """const m = await import('./web/markdown.js'), root = document.createElement('div');
    root.className = 'text'; root.append(...m.render(args[0])); """
TAGS = "A ARTICLE BLOCKQUOTE BR BUTTON CODE DEL DIV EM FIGCAPTION FIGURE H3 H4 H5 H6 HR LI OL P PATH PRE SPAN STRONG SVG TABLE TBODY TD TH THEAD TR UL".split()
ATTRS = set("alt aria-hidden aria-label class d dir href rel role scope start tabindex target title type viewBox".split())


def shape(page, text):
    """Text, tags, addresses and attributes of what became of it."""
    return page.wait_js(RENDER + """const all = [...root.querySelectorAll('*')];
        return { text: root.textContent, tags: [...new Set(all.map((e) => e.tagName.toUpperCase()))], links: all.filter((e) => e.href && e.tagName === 'A').map((e) => [e.href, e.rel, e.target]),
                 attrs: [...new Set(all.flatMap((e) => e.getAttributeNames()))] }""", text)


def html(page, text):
    return page.wait_js(RENDER + "for (const e of root.querySelectorAll('button')) e.remove(); return root.innerHTML", text)


def safe(got):
    assert set(got["tags"]) <= set(TAGS), got["tags"]
    assert set(got["attrs"]) <= ATTRS, got["attrs"]
    for href, rel, target in got["links"]:
        assert re.match(r"(https?://|mailto:)", href) and "noopener" in rel and target == "_blank", href


# ---- harm --------------------------------------------------------------------------------------------------------------

HARM = """<script>window.harm = 1</script>
<img src=x onerror="window.harm = 2"> <svg onload="window.harm = 3"></svg> <iframe srcdoc="<script>parent.harm = 4</script>"></iframe>
<a href="javascript:window.harm = 5">click</a> <style>body { display: none }</style> <base href="//evil.example/"> <form action=//evil.example><button>
[a](javascript:window.harm=6) [b](JaVaScRiPt:harm) [c](data:text/html,<script>harm</script>) [d](vbscript:x) [e](file:///etc/passwd) [f](//evil.example/x) [g](/v1/models) [h](#metrics)
[i](java\tscript:harm) [j](&#106;avascript:harm) [k](<javascript:harm>) <javascript:harm> ![l](javascript:harm) ![m](http://evil.example/pixel.png) [n](blob:http://x/y)
[o](http://good.example/a?b=c&d) <https://good.example/e> https://good.example/f. mailto:x@y.example [p](mailto:x@y.example) [q](HTTPS://good.example/g "t\\"><img>")
&lt;b&gt; &amp; <!-- comment --> <![CDATA[x]]> <?php ?>
```html
<script>window.harm = 7</script>
```
`<script>window.harm = 8</script>` **<img src=x onerror="window.harm=9">**
| <script>harm</script> | [x](javascript:harm) |
| --- | --- |
| <img src=x onerror=harm> | `<b>` |"""


def test_harm_is_text(page):
    got = shape(page, HARM)
    safe(got)
    assert sorted(h for h, _, _ in got["links"]) == sorted(
        ["http://good.example/a?b=c&d", "https://good.example/e", "https://good.example/f", "https://good.example/g", "http://evil.example/pixel.png", "http://x/y", "mailto:x@y.example"])
    for s in ("<script>window.harm = 1</script>", '<img src=x onerror="window.harm = 2">', "<style>body { display: none }</style>", "[a](javascript:window.harm=6)", "&lt;b&gt;",
              "<!-- comment -->", "<script>window.harm = 7</script>", "[x](javascript:harm)"):
        assert s in got["text"], s


def test_harm_through_a_whole_answer(page):
    """Typed, sent, streamed back in pieces, shown, and kept: nothing runs, nothing is fetched (the fixture sees to that)."""
    page.ask("@chunk=7 x\n" + HARM)
    assert '<img src=x onerror="window.harm = 2">' in page.answer() and "<script>window.harm = 1</script>" in page.questions()[0]
    page.d.refresh()
    page.until("return 'ready' in document.documentElement.dataset && document.querySelector('.msg.bot')")
    assert page.js("return window.harm") is None and page.js("return getComputedStyle(document.body).display") == "grid"
    assert not page.all("main script, main img, main iframe, main style, main form form, main base")
    assert page.js("return document.querySelector('#chats a').title").startswith("@chunk=7 x")


def test_harm_in_names(launch, page):
    name = '<img src=x onerror="window.harm=1">"\'&'
    s = launch("--model", name)
    page.open(s.url)
    page.ask("hello")
    assert page.text(".who") == name and page.js("return document.getElementById('model').value") == name
    page.js("location.hash = '#metrics'")
    page.until("return document.getElementById('about').innerText.includes('onerror')")
    page.js("location.hash = '#chat/<img src=x onerror=harm>'")
    page.until("return /not kept/.test(document.getElementById('notice').innerText)")
    assert page.js("return window.harm") is None


# ---- what markdown means -----------------------------------------------------------------------------------------------

MEANS = [
    ("one\ntwo\n\nthree", '<p dir="auto">one<br>two</p><p dir="auto">three</p>'),
    ("# A\n### B ###\n####### no", '<h3 dir="auto">A</h3><h5 dir="auto">B</h5><p dir="auto">####### no</p>'),
    ("**a** *b* ***c*** _d_ __e__ ~~f~~ snake_case_name 2*3*4 ** x **",
     '<p dir="auto"><strong>a</strong> <em>b</em> <em><strong>c</strong></em> <em>d</em> <strong>e</strong> <del>f</del> snake_case_name 2<em>3</em>4 ** x **</p>'),
    ("**a *b* c** \\*d\\* `*e*` ``x`y``", '<p dir="auto"><strong>a <em>b</em> c</strong> *d* <code>*e*</code> <code>x`y</code></p>'),
    ("a*b **c", '<p dir="auto">a*b **c</p>'),
    ("- a\n- b\n  - c\n    - d\n- e", '<ul><li dir="auto">a</li><li dir="auto">b<ul><li dir="auto">c<ul><li dir="auto">d</li></ul></li></ul></li><li dir="auto">e</li></ul>'),
    ("3. a\n4. b\n\n   more", '<ol start="3"><li dir="auto"><p dir="auto">a</p></li><li dir="auto"><p dir="auto">b</p><p dir="auto">more</p></li></ol>'),
    ("1. a\n   ```\n   x\n     y\n   ```\n2. b", '<ol><li dir="auto">a<figure class="code"><figcaption><span>text</span></figcaption><pre tabindex="0" aria-label="Code, text">'
     '<code>x\n  y</code></pre></figure></li><li dir="auto">b</li></ol>'),
    ("- [ ] a\n- [x] b", '<ul><li dir="auto" class="todo"><span class="task" role="img" aria-label="open">☐</span>a</li>'
     '<li dir="auto" class="todo"><span class="task" role="img" aria-label="done">☑</span>b</li></ul>'),
    ("> a\n> - b\n\nc", '<blockquote><p dir="auto">a</p><ul><li dir="auto">b</li></ul></blockquote><p dir="auto">c</p>'),
    ("a\n\n---\n***\nb", '<p dir="auto">a</p><hr><hr><p dir="auto">b</p>'),
    ("| a | b |\n|:-:|--:|\n| 1 | 2 \\| 3 |\n| 4 |", '<div class="table" tabindex="0" role="region" aria-label="Table"><table><thead><tr><th class="center" scope="col" dir="auto">a</th>'
     '<th class="end" scope="col" dir="auto">b</th></tr></thead><tbody><tr><td class="center" dir="auto">1</td><td class="end" dir="auto">2 | 3</td></tr>'
     '<tr><td class="center" dir="auto">4</td><td class="end" dir="auto"></td></tr></tbody></table></div>'),
    ("a | b\nno table", '<p dir="auto">a | b<br>no table</p>'),
    ("[a *b*](http://x.example/(y) 'z') (http://x.example/q_(r)).", '<p dir="auto"><a href="http://x.example/(y)" title="http://x.example/(y)" target="_blank" rel="noopener noreferrer nofollow">'
     'a <em>b</em></a> (<a href="http://x.example/q_(r)" title="http://x.example/q_(r)" target="_blank" rel="noopener noreferrer nofollow">http://x.example/q_(r)</a>).</p>'),
    ("[a [b](http://x.example/) c](http://y.example/)", '<p dir="auto">[a <a href="http://x.example/" title="http://x.example/" target="_blank" rel="noopener noreferrer nofollow">b</a>'
     ' c](<a href="http://y.example/" title="http://y.example/" target="_blank" rel="noopener noreferrer nofollow">http://y.example/</a>)</p>'),
    ("[[a]] [b] [c](d e) ](x", '<p dir="auto">[[a]] [b] [c](d e) ](x</p>'),
    ("", ""), ("\n \n", ""), ("\\", '<p dir="auto">\\</p>'),
]


def test_markdown(page):
    for text, want in MEANS:
        assert html(page, text) == want, text


def test_fences(page):
    for text, lang, code in (("```c\nint x;\n```", "c", "int x;"), ("```\nopen\n\nend", "text", "open\n\nend"), ("~~~py\n```\n~~~", "py", "```"), ("````\n```\na\n```\n````", "text", "```\na\n```"),
                             ("```js x=1\n<b>\n``` \nafter", "js", "<b>"), ("```", "text", "")):
        got = page.wait_js(RENDER + "return [root.querySelector('figcaption span').textContent, root.querySelector('pre').textContent]", text)
        assert got == [lang, code], text


def test_copy_button(page):
    page.cdp("Browser.grantPermissions", origin=page.url, permissions=["clipboardReadWrite", "clipboardSanitizedWrite"])
    page.ask("x\n```py\nprint('é')\n  <b>\n```")
    page.click(".code button")
    assert page.wait_js("return navigator.clipboard.readText()") == "print('é')\n  <b>"
    page.until("return document.getElementById('live').textContent.includes('Copied')")
    page.js("Object.defineProperty(navigator, 'clipboard', { value: { writeText: () => Promise.reject(new Error()) } }); document.execCommand = (c) => { window.ran = c; return true; }")
    page.click(".code button")  # where the page is not secure: the old way
    page.until("return window.ran === 'copy'")


def test_code_colours_change_no_text(page):
    rng = random.Random(SEED)
    print("seed", SEED)
    pieces = ["/*", "*/", "//", "#", "--", '"', "'", '"""', "`", "\\", "\n", " ", "if", "return", "0x1F", "1e9", "x_1", "<!--", "-->", "é", "日本", "{", "}", "<b>"]
    codes = ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, 60))) for _ in range(300)]
    out = page.wait_js("const c = await import('./web/code.js'), at = (x, l) => { const e = document.createElement('p'); e.append(...c.highlight(x, l)); return e.textContent };"
                       "return args[0].flatMap((x) => ['c', 'python', 'sql', 'html', 'nonsense', ''].map((l) => at(x, l) === x))", codes)
    assert len(out) == 1800 and all(out)


def test_thoughts_are_apart(page):
    split = lambda t: page.wait_js("const t = await import('./web/thread.js'); return t.split(args[0])", t)  # noqa: E731
    assert split("plain") == {"thought": "", "answer": "plain", "thinking": False}
    assert split("<think>\nhm") == {"thought": "\nhm", "answer": "", "thinking": True}
    assert split("\n<think>hm</think>\n\nso") == {"thought": "hm", "answer": "so", "thinking": False}
    assert split("hm</think>so") == {"thought": "hm", "answer": "so", "thinking": False}
    assert split("say <think>") == {"thought": "", "answer": "say <think>", "thinking": False}


# ---- any text ----------------------------------------------------------------------------------------------------------

PIECES = ["*", "**", "_", "__", "~~", "`", "``", "```", "\n", "\n\n", "\n    ", " ", "- ", "\n- ", "\n1. ", "\n> ", "> ", "# ", "\n## ", "|", "\n|", "\n| a | b |\n|---|---|\n", "---\n", "[", "]", "](", ")",
          "(http://x.example/)", "http://y.example/z", "<https://q.example>", "<b>", "</", "!", "![", "\\", "\t", "\r\n", "😀", "\u202e", "\0", "﷽", "&amp;", "~~~\n", ":--", "+ ", "* * *"]


def random_text(rng, words):
    out = []
    for i in range(rng.randrange(1, 50)):
        out.append(rng.choice(PIECES))
        if rng.random() < 0.5:
            words.append(w := "".join(rng.choices(string.ascii_lowercase, k=4)) + str(i))
            out.append(w)
    return "".join(out)


def test_any_text_is_safe_and_whole(page):
    """No element or address but the known ones, and no word lost: each stands in the text, in an address, or names a fence."""
    rng = random.Random(SEED)
    print("seed", SEED)
    batch = []
    for _ in range(600):
        words = []
        batch.append((random_text(rng, words), words))
    got = page.wait_js("""const m = await import('./web/markdown.js'), out = [];
        for (const text of args[0]) { const root = document.createElement('div'); root.append(...m.render(text)); const all = [...root.querySelectorAll('*')];
            out.push({ text: root.textContent, tags: [...new Set(all.map((e) => e.tagName.toUpperCase()))], attrs: [...new Set(all.flatMap((e) => e.getAttributeNames()))],
                       links: all.filter((e) => e.tagName === 'A').map((e) => [e.href, e.rel, e.target]) }); }
        return out""", [t for t, _ in batch])
    for (text, words), g in zip(batch, got):
        safe(g)
        where = g["text"] + " ".join(h for h, _, _ in g["links"])
        for w in words:
            info = re.search(r"(```|~~~)[^\n`]*" + w, text) or re.search(r"\([^)]*" + w, text)  # behind a fence's name; a link's title
            extra = re.search(r"\|[^\n]*" + w, text)  # a cell beyond the table's columns
            assert w in where or info or extra, (w, text, g["text"])


def test_growing_equals_whole(page):
    """Shown piece by piece as it streams, the end is the same as shown at once; the told blocks are all of it."""
    rng = random.Random(SEED + 1)
    print("seed", SEED + 1)
    texts = [random_text(rng, []) for _ in range(150)]
    cuts = [sorted(rng.randrange(len(t) + 1) for _ in range(rng.randrange(1, 12))) for t in texts]
    bad = page.wait_js("""const m = await import('./web/markdown.js'), bad = [];
        args[0].forEach((text, i) => { const a = document.createElement('div'), b = document.createElement('div'); let told = 0;
            const live = new m.Live(a, () => told++); for (const c of args[1][i]) live.show(text.slice(0, c), false); live.show(text, true);
            b.append(...m.render(text)); if (a.innerHTML !== b.innerHTML) bad.push([text, a.innerHTML, b.innerHTML]); });
        return bad""", texts, cuts)
    assert not bad, bad[0]


WORST = {"stars": "*a ", "stars2": "**a*", "under": "_a _", "brackets": "[", "images": "![a](", "links": "[a](b", "ticks": "`" * 3 + "a" + "`", "ticks2": "`a``b```c", "quotes": "> ", "lists": "- ",
         "deep": " - a\n ", "numbers": "1. ", "pipes": "|", "cells": "| a ", "angles": "<http://a", "parens": "[a](((((", "addresses": "http://a", "hashes": "# ", "rules": "- - -", "escapes": "\\",
         "fences": "```\n", "tables": "|a|\n|-|\n", "lines": "\n", "spaces": " ", "strike": "~~a", "mixed": "*[_`~~<", "tilde": "~", "tags": "<script>", "bracketlinks": "[[[[[[[[a](http://x)",
         "closing": "http://a" + ")" * 1900 + " "}


def test_time_is_bounded(page):
    """60 kB of the worst, and a fifth of it: five times the text takes about five times as long, never 25 times."""
    for name, piece in WORST.items():
        ms = page.wait_js("""const m = await import('./web/markdown.js'), text = args[0].repeat(60000 / args[0].length);
            const best = (n) => { let t = 1e9; for (let i = 0; i < 2; i++) { const b = performance.now(); m.render(text.slice(0, n)); t = Math.min(t, performance.now() - b); } return t };
            return [best(12000), best(60000)]""", piece)
        print(name, [round(t) for t in ms])
        assert ms[1] < 12 * ms[0] + 400, (name, ms)


def test_huge_tables(page):
    head = "| " + " | ".join(f"c{i}" for i in range(30)) + " |\n" + "|---" * 30 + "|\n"
    small = page.wait_js(RENDER + "return [root.querySelectorAll('td').length, root.querySelector('.tall') !== null]", head + ("| x " * 30 + "|\n") * 100)
    assert small == [3000, True]
    huge = page.wait_js(RENDER + "return [root.querySelectorAll('td').length, root.querySelectorAll('*').length, root.textContent.length]", head + ("| x " * 30 + "|\n") * 5000)
    assert huge[0] == 0 and huge[1] < 30 and huge[2] > 600_000  # beyond a bound it is shown as it is
