"""The page at / in headless Chromium, as people use it: asking, stopping, editing, coming back; errors; by keyboard; on a
phone; the server view. The server is real, the engine before it fake: it echoes, and words with @ steer it.
"""
import json
import re
import time

import pytest
import requests
from browser import DESKTOP, PHONE, Keys, chromium, page  # noqa: F401

pytestmark = [pytest.mark.fake, pytest.mark.slow]
SIZES = [PHONE, (320, 640), (768, 1024), DESKTOP]
RICH = """rich

## Heading

Words with `code`, **strong**, a [link](https://example.org/) and averyveryveryverylongwordthatnoscreencanshowinonelineatallbecauseithasnospaceinit.

- one
  - two

| Command | What | Much | More | And more | And still more columns |
| --- | --- | ---: | --- | --- | --- |
| `df -h` | free space | 12 | some text that is long | some text that is long | some text that is long |

> quoted

```python
def f(x):  # a comment
    return "a long string that does not fit on a narrow screen at all, whatever one tries" + str(x * 12)
```"""


# ---- asking ------------------------------------------------------------------------------------------------------------


def test_answer_streams(page):
    assert page.text(".welcome h1") and len(page.all(".cards .card")) == 4
    page.js("""window.seen = []; new MutationObserver(() => seen.push(document.querySelector('.msg.bot .body')?.innerText || ''))
        .observe(document.getElementById('thread'), { subtree: true, childList: true })""")
    assert page.ask("@delay=25 one two three four five") == "echo: one two three four five"
    seen = set(page.js("return seen"))
    parts = [s for s in seen if s and s != page.answer()]
    assert len(parts) >= 3 and all(page.answer().startswith(s) for s in parts), seen
    stats = page.text(".msg.bot .stats").replace("\xa0", " ")
    assert re.fullmatch(r"29 tokens · [\d.]+ tokens/s · first after [\d.]+ m?s · prompt \d+", stats), stats
    speed = float(re.search(r"([\d.]+) tokens/s", stats)[1])
    assert 3 < speed < 1000 / 25 * 1.1, stats  # a token each 25 ms, or later on a busy machine
    assert page.text(".who") == "fake" and "The answer is complete" in page.js("return document.getElementById('live').textContent")
    assert page.questions() == ["@delay=25 one two three four five"] and page.focused() == "ask"


def test_stop_keeps_what_there_is(page, server):
    for stop in (lambda: page.click("#stop"), lambda: page.keys(Keys.ESCAPE)):
        page.send("@delay=10 @len=3000")
        page.until("return (document.querySelector('.msg.running .body')?.innerText || '').length > 20")
        stop()
        page.until("return !document.querySelector('.msg.running')")
        assert "Stopped." in page.text(".msg.bot:last-child") and 20 < len(page.answer()) < 3000
        assert server.wait_idle()
    assert page.js("return document.getElementById('stop').hidden && !document.getElementById('send').hidden")


def test_stop_before_the_first_token(page, server):
    page.send("@prefill=1500 x")
    page.until("return document.querySelector('.msg.running .dots')")
    page.click("#stop")
    page.until("return !document.querySelector('.msg.running')")
    assert server.wait_idle() and page.ask("next") == "echo: x\n\nnext"


def test_regenerate_makes_a_version(page):
    page.ask("hello")
    page.js("document.querySelector('.msg.bot').dataset.old = 1")
    page.click(".msg.bot [aria-label='Answer again']")
    page.until("return document.querySelector('.msg.bot:not(.running)') && !document.querySelector('[data-old]')")
    assert page.text(".msg.bot .branches") == "2/2" and len(page.all(".msg")) == 2
    page.click(".msg.bot [aria-label='Version before']")
    assert page.text(".msg.bot .branches") == "1/2"
    page.ask("more")
    assert len(page.all(".msg")) == 4
    page.click(".msg.bot [aria-label='Version after']")
    assert len(page.all(".msg")) == 2  # the other branch is kept apart
    page.click(".msg.bot [aria-label='Version before']")
    assert page.questions() == ["hello", "more"]


def test_edit_begins_a_branch(page):
    page.ask("first thought")
    page.ask("follow-up")
    page.click(".msg.user [aria-label='Edit question']")
    page.until("return document.activeElement.getAttribute('aria-label') === 'Edit question'")
    page.keys(Keys.ESCAPE)
    assert page.questions() == ["first thought", "follow-up"]
    page.click(".msg.user [aria-label='Edit question']")
    box = page.find(".editing textarea")
    box.clear()
    box.send_keys("second thought", Keys.ENTER)
    page.until("return document.querySelectorAll('.msg').length === 2")
    assert page.answered() == "echo: second thought" and page.questions() == ["second thought"]
    page.click(".msg.user [aria-label='Version before']")
    assert page.questions() == ["first thought", "follow-up"]


def test_settings_and_model_reach_the_server(page):
    page.click("#tune")
    page.find("#system").send_keys("be brief")
    for name, value in (("temperature", "0.25"), ("top_k", "7"), ("max_tokens", "400"), ("seed", "11")):
        page.find(f"#set-{name}").send_keys(value)
    page.find("#set-stop").send_keys("zzz\nyyy")
    page.js("const m = document.getElementById('model'); m.value = 'org/other-name'; m.dispatchEvent(new Event('change'))")
    said = page.ask("@sampling")
    assert "t=0.250" in said and "k=7" in said and "max=400" in said and "stop=2" in said and "p=1.000" in said, said
    assert page.text(".who") == "org/other-name"
    page.go(page.js("return location.hash"))
    page.click("#tune")
    assert page.js("return ['system', 'set-temperature', 'model'].map((id) => document.getElementById(id).value)") == ["be brief", "0.25", "org/other-name"]
    page.click(".fields > .wide")  # back to the defaults
    assert "t=0.700" in page.ask("@sampling") and page.js("return document.getElementById('system').value") == "be brief"


def test_edit_while_it_answers(page, server):
    page.send("@delay=10 @len=4000")
    page.until("return (document.querySelector('.msg.running .body')?.innerText || '').length > 20")
    page.click(".msg.user [aria-label='Edit question']")
    box = page.find(".editing textarea")
    box.clear()
    box.send_keys("rather this", Keys.ENTER)
    page.until("return document.querySelector('.msg.user .body')?.innerText === 'rather this'")
    assert page.answered() == "echo: rather this" and server.wait_idle()


# ---- kept --------------------------------------------------------------------------------------------------------------


def test_reload_keeps_the_conversation(page):
    page.ask("remember this")
    shown, where = page.text("#thread"), page.js("return location.hash")
    assert re.fullmatch(r"#chat/\w+", where) and page.d.title.startswith("remember this")
    page.d.refresh()
    page.until("return 'ready' in document.documentElement.dataset && document.querySelector('.msg.bot')")
    assert page.text("#thread") == shown and page.js("return location.hash") == where
    page.click("#new")
    page.until("return document.querySelector('.welcome')")
    page.ask("another one")
    assert [e.text for e in page.all("#chats a")] == ["another one", "remember this"]
    page.find("#search").send_keys("REMEMBER")
    page.until("return document.querySelectorAll('#chats a').length === 1")
    page.click("#chats a")
    page.until("return document.querySelector('.msg.user')?.innerText.includes('remember this')")
    assert page.text("#thread") == shown


def test_reload_in_the_middle(page, server):
    page.send("@delay=10 @len=4000")
    page.until("return (document.querySelector('.msg.running .body')?.innerText || '').length > 200")
    page.d.refresh()
    page.until("return 'ready' in document.documentElement.dataset && document.querySelector('.msg.bot')")
    assert page.text(".msg.bot .note") == "Cut off." and server.wait_idle()


def test_answer_goes_on_elsewhere(page):
    page.send("@delay=20 @len=60")
    page.click("#new")
    page.until("return document.querySelector('.welcome') && document.querySelector('#chats .busy')")
    assert page.ask("quick") == "echo: quick"
    page.until("return !document.querySelector('#chats .busy')")
    page.all("#chats a")[1].click() if page.all("#chats a")[0].text == "quick" else page.click("#chats a")
    page.until("return document.querySelector('.msg.user .body')?.innerText.includes('@len')")
    assert len(page.answer()) >= 59


def test_rename_delete_export_import(page):
    page.ask("to be renamed")
    page.click("[aria-label='Rename conversation']")
    page.keys("A better name", Keys.ENTER)
    page.until("return document.querySelector('#chats a').innerText === 'A better name'")
    saved = page.wait_js("const s = await import('./web/store.js'); return s.pack(await s.list());")
    assert json.loads(saved)["conversations"][0]["title"] == "A better name"
    md = page.wait_js("const s = await import('./web/store.js'); return s.asMarkdown((await s.list())[0]);")
    assert md == "# A better name\n\n## You\n\nto be renamed\n\n## fake\n\necho: to be renamed\n"
    page.click("[aria-label='Delete conversation']")
    page.until("return document.getElementById('confirm').open")
    page.click("#confirm button[value=no]")
    assert len(page.all("#chats a")) == 1
    page.click("[aria-label='Delete conversation']")
    page.click("#confirm-yes")
    page.until("return !document.querySelector('#chats a') && document.querySelector('.welcome')")
    read = """const data = new DataTransfer(); data.items.add(new File([arguments[0]], 'x.json'));
              const f = document.getElementById('file'); f.files = data.files; f.dispatchEvent(new Event('change'));"""
    page.js(read, saved)
    page.until("return document.querySelector('#chats a')")
    assert page.text("#notice") == "1 conversation read."
    page.click("#chats a")
    page.until("return document.querySelector('.msg.bot')")
    assert page.answer() == "echo: to be renamed"
    one = json.loads(saved)["conversations"][0]
    nodes = list(one["nodes"].values())
    for bad in ("{", "[]", '{"conversations": []}', {**one, "nodes": 3}, {**one, "title": 5},
                {**one, "nodes": {n["id"]: {**n, "parent": nodes[1 - i]["id"]} for i, n in enumerate(nodes)}},  # a circle
                {**one, "nodes": {"a": {"id": "a", "role": "system", "text": "x"}}}):
        page.js(read, bad if isinstance(bad, str) else json.dumps({"conversations": [bad]}))
        page.until("return /This file/.test(document.getElementById('notice').innerText)", what=str(bad))
        page.js("document.getElementById('notice').replaceChildren()")


def test_deleted_while_it_is_written(page, server):
    page.send("@delay=10 @len=4000")
    page.until("return (document.querySelector('.msg.running .body')?.innerText || '').length > 20")
    page.click("[aria-label='Delete conversation']")
    page.click("#confirm-yes")
    page.until("return document.querySelector('.welcome') && !document.querySelector('#chats a')")
    assert server.wait_idle()
    page.ask("another")
    page.d.refresh()
    page.until("return 'ready' in document.documentElement.dataset && document.querySelector('.msg.bot')")
    assert [e.text for e in page.all("#chats a")] == ["another"]


# ---- errors ------------------------------------------------------------------------------------------------------------


def error(page):
    page.until("return document.querySelector('.error')", seconds=20)
    return page.text(".error strong"), page.text(".error")


@pytest.mark.parametrize("word, title", [
    ("@error=numeric", "The server failed on this one"), ("@submit=too_long", "This conversation is too long for the model"),
    ("@submit=shutdown", "The server is shutting down"), ("@template_error", "The server does not take this request")])
def test_errors_in_words(page, word, title):
    page.send(f"{word} x")
    got, whole = error(page)
    assert got == title and "undefined" not in whole and "[object" not in whole and "{" not in whole
    page.click(".msg.user [aria-label='Edit question']")
    box = page.find(".editing textarea")
    box.clear()
    box.send_keys("fine now", Keys.ENTER)
    page.until("return document.querySelectorAll('.msg').length === 2 && !document.querySelector('.error')")
    assert page.answered() == "echo: fine now"


def test_error_in_the_middle_keeps_the_text(page):
    page.send("@error=internal @after=7 some words")
    title, _ = error(page)
    assert title == "The server failed on this one" and page.answer() == "echo: s"
    page.d.refresh()
    page.until("return document.querySelector('.msg.bot')")
    assert page.answer() == "echo: s" and error(page)[0] == title


def test_a_setting_out_of_range_is_named(page):
    page.wait_js("const s = await import('./web/store.js'); s.settings.sampling.temperature = 9;")
    page.send("x")
    title, text = error(page)
    assert title == "The server does not take a setting" and "temperature" in text
    page.click(".error button")
    assert page.js("return !document.getElementById('panel').hidden")
    field = page.find("#set-temperature")
    field.clear()
    field.send_keys("7")
    assert field.get_attribute("aria-invalid") == "true"
    page.click(".error button")  # what does not fit was not taken


def test_busy_is_waited_for(page, launch):
    s = launch("--max-sequences", 1)
    page.open(s.url)
    hog = requests.post(s.url + "/v1/chat/completions", json={"messages": [{"role": "user", "content": "@delay=20 @len=5000"}], "stream": True}, stream=True)
    page.send("patient")
    page.until("return /busy; trying again/.test(document.querySelector('.state')?.innerText)")
    hog.close()
    assert page.answered() == "echo: patient"


def test_loading_is_waited_for(page, launch, tmp_path):
    s = launch("--gate", tmp_path / "loaded", ready=False)
    page.open(s.url)
    assert "still loading" in page.text("#notice")
    page.send("early")
    page.until("return /loading/.test(document.querySelector('.state')?.innerText)")
    (tmp_path / "loaded").touch()
    assert page.answered() == "echo: early"
    page.until("return !document.getElementById('notice').innerText")


def test_another_model_is_loaded(page, launch, tmp_path):
    s = launch("--pool", 3, "--gate", tmp_path / "loaded")
    page.open(s.url)
    assert page.js("return [...document.getElementById('model').options].map((o) => o.value)") == ["m0", "m1", "m2", "broken"]
    page.js("const m = document.getElementById('model'); m.value = 'm1'; m.dispatchEvent(new Event('change'))")
    page.send("first")
    page.until("return document.querySelector('.state')?.innerText.includes('The model is loading')")
    (tmp_path / "loaded").touch()
    assert page.answered() == "echo: first" and page.text(".who") == "m1"
    page.until("return document.getElementById('model').selectedOptions[0].dataset.idle === ''")
    page.js("const m = document.getElementById('model'); m.value = 'broken'; m.dispatchEvent(new Event('change'))")
    page.send("second")
    assert "undefined" not in error(page)[1] and page.questions() == ["first", "second"]


def test_server_gone_and_back(page, launch):
    s = launch()
    page.open(s.url)
    page.ask("before")
    s.stop()
    page.send("into the void")
    assert error(page)[0] == "The server does not answer"
    assert "does not answer" in page.text("#notice")
    launch("--port", s.port)
    page.until("return !document.getElementById('notice').innerText")
    page.click(".error button")
    page.until("return document.querySelectorAll('.msg.bot').length === 2 && !document.querySelector('.error')")
    assert page.answered() == "echo: into the void"


def test_key(page, launch):
    s = launch("--key", "sesame")
    page.open(s.url)
    assert "wants an API key" in page.text("#notice")
    page.send("locked out")
    assert error(page)[0] == "This server wants a key"
    page.click(".error button")
    assert page.focused() == "key"
    page.keys("wrong", Keys.TAB)
    page.until("return /API key/.test(document.getElementById('notice').innerText)")
    page.find("#key").clear()
    page.find("#key").send_keys("sesame", Keys.TAB)
    page.until("return !document.getElementById('notice').innerText")
    page.click(".error button:last-child")
    page.until("return !document.querySelector('.error')")
    assert page.answered() == "echo: locked out"
    assert page.js("return [localStorage.length, Object.values(localStorage).join().includes('sesame')]")[1] is False
    page.go("#metrics")
    page.until("return /\\d/.test(document.querySelector('.tile strong').innerText)")


# ---- by keyboard, for readers, on a phone ------------------------------------------------------------------------------


def test_by_keyboard(page):
    page.js("document.activeElement.blur()")
    page.keys(Keys.TAB)
    assert page.focused() == "skip"
    page.keys(Keys.ENTER)
    assert page.focused() == "ask"
    page.keys("@delay=1 ", "by hand")
    page.keys(Keys.ENTER, shift=True)
    page.keys("and line", Keys.ENTER)
    assert page.answered() == "echo: by hand\nand line" and page.focused() == "ask"
    page.keys(Keys.ARROW_UP)
    assert page.focused() == "Edit question"
    page.keys(Keys.ESCAPE)
    page.js("document.activeElement.blur()")
    page.keys("/")
    assert page.focused() == "ask"
    page.js("document.getElementById('skip').focus()")
    reached, lost = [], []
    for _ in range(60):
        page.keys(Keys.TAB)
        now = page.js("""const e = document.activeElement, s = getComputedStyle(e);
            return [e === document.body ? '' : e.id || e.getAttribute('aria-label') || e.innerText, s.outlineStyle !== 'none' || !!e.closest('#composer:focus-within')]""")
        if reached and now[0] == reached[0]:
            break
        reached.append(now[0])
        if now[0] and not now[1]:
            lost.append(now[0])
    wanted = {"new", "search", "export", "import", "clear", "tab-chat", "tab-server", "theme", "tune", "Rename conversation", "Delete conversation", "Copy question",
              "Edit question", "Copy answer", "Answer again", "ask", "model", "send"}
    assert wanted <= set(reached), (wanted - set(reached), reached)
    assert not lost, lost  # each shows where the focus is
    page.js("document.getElementById('tune').focus()")
    page.keys(Keys.ENTER)
    assert page.focused() == "Settings"
    page.keys(Keys.TAB)
    assert page.focused() == "Close settings"
    page.keys(Keys.ESCAPE)
    assert page.focused() == "tune" and page.js("return document.getElementById('panel').hidden")
    page.js("document.getElementById('tab-server').focus()")
    page.keys(Keys.ENTER)
    page.until("return !document.getElementById('view-server').hidden")
    page.d.back()
    page.until("return document.querySelector('.msg.bot') && !document.getElementById('view-chat').hidden")


def test_focus_is_never_lost(page):
    page.ask("one")
    focus = "const e = document.querySelector(arguments[0]); e.focus(); return document.activeElement === e"
    assert page.js(focus, ".msg.bot [aria-label='Answer again']")
    page.keys(Keys.ENTER)
    page.until("return document.querySelector('.branches') && !document.querySelector('.running')")
    assert page.focused() == "Answer of fake"
    assert page.js(focus, ".msg.bot [aria-label='Answer again']")
    page.keys(Keys.ENTER)
    page.until("return /3.3/.test(document.querySelector('.branches')?.innerText) && !document.querySelector('.running')")
    for label in ("Version before", "Version before", "Version after"):
        assert page.js(focus, f".branches [aria-label='{label}']")
        page.keys(Keys.ENTER)
        page.until("return document.activeElement !== document.body")
        assert page.focused() in (label, "Answer of fake")
    page.send("@delay=10 @len=40")
    assert page.js(focus, "#chats a")
    page.answered()
    time.sleep(0.1)
    assert page.js("return document.activeElement.parentElement.parentElement.parentElement.parentElement.id") == "chats"
    assert page.js(focus, "#chats button")
    page.keys(Keys.ENTER)
    page.until("return document.getElementById('confirm').open")
    page.keys(Keys.TAB, Keys.ENTER)
    page.until("return document.querySelector('.welcome')")
    assert page.focused() == "ask"


def test_drawers_on_a_phone(page):
    page.size(*PHONE)
    for opener, drawer in (("menu", "side"), ("tune", "panel")):
        page.js(f"document.getElementById('{opener}').focus()")
        page.keys(Keys.ENTER)
        page.until(f"return document.getElementById('{drawer}').contains(document.activeElement)")
        for _ in range(40):
            page.keys(Keys.TAB)  # what lies under it cannot be reached
            assert page.js(f"const e = document.activeElement; return e === document.body || document.getElementById('{drawer}').contains(e)"), page.focused()
        page.keys(Keys.ESCAPE)
        assert page.focused() == opener and not page.all(".drawer.open") and page.js("return document.getElementById('scrim').hidden")


FITS = """
const wide = document.documentElement.scrollWidth > innerWidth, out = [];
const scrolls = (e) => { for (; e; e = e.parentElement) if (/auto|scroll|hidden/.test(getComputedStyle(e).overflowX) && e.id !== 'scroll' && e.id !== 'view-server' && e !== document.body) return true; return false; };
for (const e of document.querySelectorAll('main:not([hidden]) *, #top *')) {
    const r = e.getBoundingClientRect(), s = getComputedStyle(e);
    if (!r.width || !r.height || s.visibility === 'hidden' || e.closest('.hidden') || scrolls(e.parentElement)) continue;
    if (r.right > innerWidth + 0.5 || r.left < -0.5) out.push([e.tagName, e.className, r.left, r.right]);
}
for (const id of ['scroll', 'view-server']) { const e = document.getElementById(id); if (e.scrollWidth > e.clientWidth) out.push([id, e.scrollWidth, e.clientWidth]); }
return [wide, out];
"""
SMALL = """
return [...document.querySelectorAll('button, a, input, select, summary, textarea')].filter((e) => e.checkVisibility({ visibilityProperty: true }) && !e.closest('.text, .hidden, .skip')
    && !(e.inert || e.closest('[inert]'))).map((e) => [e, e.getBoundingClientRect()]).filter(([, r]) => r.width && (r.height < 24 || r.width < 24)).map(([e, r]) => [e.outerHTML.slice(0, 80), r.width, r.height]);
"""


def test_no_sideways_scroll_at_any_size(page):
    page.ask(RICH)
    where = page.js("return location.hash")
    for view in (where, "#chat", "#metrics"):
        page.js("location.hash = arguments[0]", view)
        for w, h in SIZES:
            page.size(w, h)
            time.sleep(0.15)
            wide, out = page.js(FITS)
            assert not wide and not out, (view, w, out)
            assert not page.js(SMALL), (view, w)
            if view != "#metrics":
                box = page.js("const r = document.getElementById('composer').getBoundingClientRect(); return [r.top, r.bottom]")
                assert 0 < box[0] < box[1] <= h


NAMED = {"button", "link", "textbox", "searchbox", "combobox", "slider", "spinbutton", "checkbox", "image", "region", "article", "dialog", "complementary",
         "navigation", "figure", "group", "main"}
MAY_BE_BARE = {"group", "figure", "image"}  # a figure's caption names it; a decorative image has none


def unnamed(page):
    out = []
    for n in page.cdp("Accessibility.getFullAXTree")["nodes"]:
        role = n.get("role", {}).get("value")
        if not n["ignored"] and role in NAMED - MAY_BE_BARE and not n.get("name", {}).get("value", "").strip():
            out.append((role, n.get("backendDOMNodeId")))
    return out


# Text against what lies under it, all colours opaque but for the layers that are mixed here.
CONTRAST = """
const canvas = document.createElement('canvas').getContext('2d', { willReadFrequently: true });
const rgba = (c) => { canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = c; canvas.fillRect(0, 0, 1, 1); const d = canvas.getImageData(0, 0, 1, 1).data; return [...d.slice(0, 3), d[3] / 255]; };
const over = (a, b) => a.slice(0, 3).map((v, i) => v * a[3] + b[i] * (1 - a[3]));
const ground = (e) => { const layers = []; for (; e; e = e.parentElement) { const c = rgba(getComputedStyle(e).backgroundColor); if (c[3]) layers.push(c); if (c[3] === 1) break; }
    return layers.reverse().reduce((g, c) => over(c, g), [255, 255, 255]); };
const light = (c) => { const [r, g, b] = c.map((v) => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4); return 0.2126 * r + 0.7152 * g + 0.0722 * b; };
const out = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT); let n = 0;
const check = (e, colour, what) => {
    const s = getComputedStyle(e), g = ground(e), a = light(over(rgba(colour), g)), b = light(g), ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    const size = parseFloat(s.fontSize), large = size >= 24 || (size >= 18.66 && s.fontWeight >= 700);
    n++; if (ratio < (large ? 3 : 4.5)) out.push([what.slice(0, 40), e.className.baseVal ?? e.className, e.tagName, +ratio.toFixed(2)]);
};
for (let t = walk.nextNode(); t; t = walk.nextNode()) {
    const e = t.parentElement;
    if (!t.data.trim() || !e.checkVisibility({ opacityProperty: true, visibilityProperty: true }) || e.closest('.hidden, .skip, :disabled, noscript, option')) continue;
    check(e, e instanceof SVGElement ? getComputedStyle(e).fill : getComputedStyle(e).color, t.data);
}
for (const e of document.querySelectorAll('[placeholder]')) if (e.checkVisibility() && !e.value) check(e, getComputedStyle(e, '::placeholder').color, e.placeholder);
return [n, out];
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_for_readers_and_eyes(page, scheme):
    page.prefer(prefers_color_scheme=scheme)
    page.ask(RICH)
    page.ask("@error=numeric x")
    where = page.js("return location.hash")
    page.js("document.querySelector('#tune').click()")
    for view in (where, "#chat", "#metrics"):
        page.js("location.hash = arguments[0]", view)
        page.until("return document.getElementById('view-server').hidden || /fake/.test(document.getElementById('about').innerText)")
        time.sleep(0.25)  # colours change gently
        assert unnamed(page) == []
        n, low = page.js(CONTRAST)
        assert n > 25 and not low, low
        ids = page.js("return [...document.querySelectorAll('[id]')].map((e) => e.id)")
        assert len(ids) == len(set(ids))
        for attr in ("aria-controls", "aria-describedby", "aria-labelledby", "for"):
            for ref in page.js("return [...document.querySelectorAll(`[${arguments[0]}]`)].map((e) => e.getAttribute(arguments[0]))", attr):
                assert ref in ids, (attr, ref)
        levels = page.js("return [...document.querySelectorAll('main:not([hidden]) :is(h1,h2,h3,h4,h5,h6)')].filter((e) => e.checkVisibility()).map((e) => +e.tagName[1])")
        assert levels[0] == 1 and levels.count(1) == 1 and all(b <= a + 2 for a, b in zip(levels, levels[1:])), levels
    assert page.js("return document.documentElement.lang") == "en"


def test_theme_can_be_chosen(page):
    paper = "return getComputedStyle(document.body).backgroundColor"
    page.prefer(prefers_color_scheme="dark")
    dark = page.js(paper)
    page.click("#theme")  # light, whatever the system says
    light = page.js(paper)
    page.click("#theme")
    page.prefer(prefers_color_scheme="light")
    assert light != dark and page.js(paper) == dark and page.find("#theme").get_attribute("aria-label") == "Theme: dark"
    page.go()
    assert page.js(paper) == dark
    page.click("#theme")
    assert page.js(paper) == light and page.find("#theme").get_attribute("aria-label") == "Theme: as the system"


def test_reduced_motion(page):
    page.send("@prefill=1500 x")
    page.until("return document.querySelector('.dots') && document.getAnimations().length")
    page.prefer(prefers_reduced_motion="reduce")
    page.until("return document.querySelector('.dots') && !document.getAnimations().length")


# ---- the server view ---------------------------------------------------------------------------------------------------


def test_server_view_tells_the_truth(page, server):
    page.go("#metrics")
    page.until("return /fake/.test(document.getElementById('about').innerText)")
    tile = "return [...document.querySelectorAll('.tile')].find((t) => t.innerText.includes(arguments[0])).querySelector('strong').innerText"
    with requests.post(server.url + "/v1/chat/completions", stream=True, json={"stream": True, "messages": [{"role": "user", "content": "@delay=10 @len=4000"}]}):
        page.until(tile + " === '1'", "running")
        page.until("return parseFloat((" + tile.replace("return ", "", 1) + ")) > 20", "Tokens written")  # 100 a second
    page.until(tile + " === '0'", "running")
    label = page.find(".chart.lines svg").get_attribute("aria-label")
    assert re.match(r"Tokens per second over the last \d+ min: written [\d.]+, at most [\d.]+; read", label), label
    assert "/v1/chat/completions" in page.text("#routes")
    page.click("#hold")
    assert page.find("#hold").get_attribute("aria-pressed") == "true"
    page.read_logs()
    page.requests = []
    time.sleep(2.3)
    page.read_logs()
    assert not [u for u in page.requests if u.endswith("/metrics")]


METRICS = """# TYPE vllm:time_to_first_token_seconds histogram
vllm:time_to_first_token_seconds_bucket{{model_name="a b\\"c",engine="0",le="0.1"}} {n}
vllm:time_to_first_token_seconds_bucket{{model_name="a b\\"c",engine="0",le="0.2"}} {m}
vllm:time_to_first_token_seconds_bucket{{model_name="a b\\"c",engine="0",le="+Inf"}} {m}
vllm:time_to_first_token_seconds_sum{{model_name="a b\\"c",engine="0"}} 12.5
vllm:time_to_first_token_seconds_count{{model_name="a b\\"c",engine="0"}} {m}
vllm:num_requests_running{{model_name="a b\\"c",engine="0"}} 3
"""


def test_histograms_are_read_as_prometheus_does(page):
    """40 below 0.1 s, 60 more below 0.2: the median lies a sixth into the second bucket."""
    got = page.wait_js("""const p = await import('./web/prometheus.js'), m = p.parse(args[0]), old = p.parse(args[1]), name = 'vllm:time_to_first_token_seconds';
        const h = p.histogram(m, name), d = p.histogram(m, name, old), back = p.histogram(old, name, m);
        return [h.counts, h.count, p.quantile(h, 0.5), p.quantile(h, 0.2), d.counts, d.count, back.count, p.quantile(d, 1), [...p.by(m, 'vllm:num_requests_running', 'model_name')]]""",
                       METRICS.format(n=40, m=100), METRICS.format(n=10, m=20))
    assert got[:2] == [[40, 60, 0], 100] and got[2] == pytest.approx(0.1 + 0.1 / 6) and got[3] == pytest.approx(0.05)
    assert got[4:8] == [[30, 50, 0], 80, 20, pytest.approx(0.2)] and got[8] == [['a b"c', 3]]


def test_bars_and_their_numbers(page):
    page.wait_js("const c = await import('./web/charts.js'), f = c.figure('Probe', 'bars'); document.querySelector('.charts').append(f.root); location.hash = '#metrics';"
                 "f.fold.open = true; c.bars(f, { bounds: [0.1, 0.2, 0.4, Infinity], counts: [0, 30, 10, 0] }, (v) => v + ' s', [['half', '0.15 s']], 40);")
    assert len(page.all(".charts > .chart:last-child .bar")) == 2
    heights = page.js("return [...document.querySelectorAll('.charts')][0].lastChild.querySelectorAll('.bar').values().map((b) => +b.getAttribute('height')).toArray()")
    assert heights[0] == pytest.approx(3 * heights[1])
    rows = page.js("return [...document.querySelectorAll('.charts')][0].lastChild.querySelectorAll('tbody tr').values().map((r) => r.innerText).toArray()")
    assert [r.split() for r in rows] == [["0.1", "s", "0"], ["0.2", "s", "30"], ["0.4", "s", "10"], ["more", "0"]]


def test_nothing_can_be_loaded_or_run_from_elsewhere(page, launch):
    other = launch("--cors", "*")
    page.may_violate = True
    assert page.wait_js("return fetch(args[0] + '/health').then(() => 'reached', (e) => e.name)", other.url) == "TypeError"
    assert page.js("try { document.body.innerHTML = '<b>x</b>'; return 'set' } catch (e) { return e.name }") == "TypeError"
    page.js("setTimeout(() => { try { eval('1'); window.got = 'ran' } catch (e) { window.got = e.name } })")
    assert page.until("return window.got") == "EvalError"
    page.js("const s = document.createElement('img'); s.src = arguments[0] + '/web/icon.svg'; s.id = 'strange'; document.body.append(s)", other.url)
    page.until("const i = document.getElementById('strange'); return i.complete && !i.naturalWidth")
    page.d.get(f"{other.url}/health")
    page.js("const f = document.createElement('iframe'); f.src = arguments[0]; document.body.append(f)", page.url)
    page.until("return document.querySelector('iframe').contentDocument === null")  # an error page: it may not be framed
