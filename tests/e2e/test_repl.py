"""A conversation on a terminal, through a pty: what a person types and sees. Tiny model, greedy, so every answer is known."""
import json
import os
import re
import subprocess

import fixtures as F
import pexpect
import pytest
from test_stores import blob_store, derived, layer
from tokenizers import Tokenizer

TEMPLATE = os.path.join(os.path.dirname(__file__), "chat.jinja")
MORE = r"\.\.\.(\x1b\[0m)? "
UP, PASTE, PASTED, ALT_ENTER = "\x1b[A", "\x1b[200~", "\x1b[201~", "\x1b\r"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    root = tmp_path_factory.mktemp("repl")
    for name, v, t, rel in F.cases():
        if name == "llama-F32-gguf":
            F.write_case(name, v, t, str(root / "tiny.gguf"))
    return str(root / "tiny.gguf")


class Terminal:
    def __init__(self, build, model, home, *args, env=None, template=TEMPLATE, prompt=True, length=("-n", "12")):
        self.home = home
        env = {**os.environ, "HOME": str(home), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8", **(env or {})}
        for name in ("XDG_STATE_HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME"):
            env.pop(name, None)
        args = ["run", model, "-t", "0", *length, "--ignore-eos", *(["--chat-template", template] if template else []), *args]
        self.p = pexpect.spawn(str(build / "rocmforge"), args, env=env, encoding="utf-8", timeout=60, dimensions=(40, 120), cwd=str(home))
        if prompt:
            self.prompt()

    def expect(self, pattern):
        self.p.expect(pattern)
        return self.p.before

    def prompt(self):
        """Everything up to the next prompt, without colour and terminal modes."""
        self.p.expect(r">>>(\x1b\[0m)? ")
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", self.p.before).replace("\r\n", "\n").replace("\r", "")

    def type(self, text):
        """Keys without Enter; what the screen then shows is passed over."""
        self.p.send(text)
        self.p.expect(pexpect.TIMEOUT, timeout=0.4)
        self.p.buffer = ""

    def ask(self, text):
        self.p.send(text + "\r")
        return self.prompt()

    def end(self, text="/bye\r"):
        self.p.send(text)
        self.p.expect(pexpect.EOF)
        self.p.close()
        assert "Sanitizer" not in self.p.before, self.p.before
        return self.p.exitstatus


@pytest.fixture
def term(build, model, tmp_path):
    made = []

    def make(*args, **kw):
        made.append(Terminal(build, model, tmp_path, *args, **kw))
        return made[-1]

    yield make
    for t in made:
        t.p.close(force=True)


def said(out):
    """The messages as /show messages prints them."""
    return re.findall(r"^(system|user|assistant): (.*)$", out, re.M)


def test_questions_answers_and_speed(term):
    t = term("--system", "Be kind.")
    out = t.ask("int main")
    assert re.search(r"\n\[12 tokens, [0-9.]+ tokens/s, first after [0-9.]+ s\]\n", out), out
    first = out.split("\n")[1]
    t.ask("return 0")
    shown = said(t.ask("/show messages"))
    assert [r for r, _ in shown] == ["system", "user", "assistant", "user", "assistant"]
    assert shown[0][1] == "Be kind." and shown[1][1] == "int main" and shown[2][1][:8] == first[:8]
    assert "tiny.gguf" in t.ask("/show") and t.end() == 0


def test_ollamas_messages_come_first(build, model, tmp_path):
    """MESSAGE and num_predict of a Modelfile: shown when the conversation begins, there after /clear, part of what is asked; an answer that they end is no full context."""
    store = tmp_path / "ollama"
    blob_store(store, {"registry.ollama.ai/library/plain/latest": model})
    derived(store, "primed", layer(store, "params", json.dumps({"num_predict": 7})), layer(store, "messages", json.dumps(
        [{"role": "user", "content": "Ping\x1b[2J?"}, {"role": "assistant", "content": "Pong."}])))
    t, first = Terminal(build, "primed", tmp_path, env={"OLLAMA_MODELS": str(store)}, prompt=False, length=()), [("user", "Ping?[2J?"), ("assistant", "Pong.")]
    assert said(t.prompt()) == first
    out = t.ask("int main")
    assert "[7 tokens" in out and "full" not in out
    assert said(t.ask("/show messages"))[:3] == [*first, ("user", "int main")]
    t.ask("/clear")
    assert said(t.ask("/show messages")) == first
    assert t.end() == 0


def test_history_is_kept_between_runs_and_is_private(term, tmp_path):
    t = term()
    t.ask("the first question")
    assert t.end("\x04") == 0  # Ctrl-D
    path = tmp_path / ".local/state/rocmforge/history"
    assert path.stat().st_mode & 0o777 == 0o600
    t = term()
    t.p.send(UP)
    t.expect("the first question")
    t.ask("")
    assert said(t.ask("/show messages"))[0] == ("user", "the first question")
    assert t.end() == 0
    t = term("--no-history")
    t.ask("a secret")
    assert t.end() == 0 and "secret" not in path.read_text()


def test_interrupt_stops_the_answer_alone(term):
    t = term("-n", "440", "--isa", "ref", "--no-prefix-cache")
    t.p.delaybeforesend = None
    counts = []
    for _ in range(8):  # an answer may be over before the key comes
        t.p.send("int\r")
        t.p.expect("int\r\n[^\r\n]*[a-z]")
        t.p.sendintr()
        counts.append(int(re.search(r"\[(\d+) tokens", t.prompt())[1]))
        assert said(t.ask("/show messages"))[0] == ("user", "int")  # what was said stays said
        t.ask("/clear")
        if counts[-1] < 440:
            break
    assert 1 <= min(counts) < 440, counts
    t.p.send("half a li")
    t.expect("half a li")
    t.p.sendintr()
    t.prompt()
    assert "[440 tokens" in t.ask("int")  # the next one is whole again
    assert "half" not in t.ask("/show messages") and t.end() == 0


def test_several_lines(term):
    t = term()
    t.p.send('"""\r')
    t.p.expect(MORE)
    t.p.send("one\r")
    t.p.expect(MORE)
    t.ask('two"""')
    t.p.send("three\\\r")
    t.p.expect(MORE)
    t.ask("four")
    t.type(f"{PASTE}five\nsix äöü\n{PASTED}")
    t.ask("")
    t.type(f"seven{ALT_ENTER}")
    t.ask("eight")
    t.p.send('"""nine\r')
    t.p.expect(MORE)
    t.p.sendintr()  # gives all of it up
    t.prompt()
    t.ask("/save all")
    messages = json.loads((t.home / ".local/share/rocmforge/chats/all.json").read_text())["messages"]
    assert [m["content"] for m in messages if m["role"] == "user"] == ["one\ntwo", "three\nfour", "five\nsix äöü", "seven\neight"]
    assert t.end() == 0


def test_set_and_unset(term):
    t = term()
    a = t.ask("int main")
    t.ask("/clear")
    assert t.ask("/set max-tokens 3") and "[3 tokens" in t.ask("int main")
    t.ask("/set max_tokens 12")
    t.ask("/clear")
    again = t.ask("int main")
    assert again.split("\n")[1] == a.split("\n")[1]  # greedy: the same once more
    assert "expected a number from 0 to 1" in t.ask("/set top-p 7") and "unset" in re.search("top-p +(.*)", t.ask("/set"))[0]
    assert "did you mean temperature" in t.ask("/set temprature 1")
    t.ask("/set system Answer in verse.")
    assert said(t.ask("/show messages"))[0] == ("system", "Answer in verse.")
    t.ask("/set system default")
    assert said(t.ask("/show messages"))[0][0] == "user"
    t.ask('/set system "In \\"prose\\"."')  # quotes around it are no part of it
    assert said(t.ask("/show messages"))[0] == ("system", 'In \\"prose\\".')
    t.ask("/set parameter top_k 7")  # as people who come from Ollama type it
    assert re.search("top-k +7", t.ask("/set"))
    assert t.end() == 0


def test_save_load_clear(term, tmp_path):
    t = term()
    t.ask("/set system Hi.")
    t.ask("int main")
    t.ask("/save ../up/and/away")  # has a '/': a path, and its folder is missing
    assert f"saved to {t.home}/tilde.json" in t.ask("/save ~/tilde.json")
    t.ask("/save one")
    before = t.ask("/show messages")
    t.ask("/clear")
    assert said(t.ask("/show messages")) == [("system", "Hi.")]
    t.ask("/set system default")
    assert "2 messages" in t.ask("/load one") and t.ask("/show messages") == before
    (tmp_path / "bad.json").write_text('{"messages": [{"role": "tool", "content": 3}]}')
    assert "found no conversation" in t.ask("/load ./bad.json") and "2 messages" not in t.ask("/load none")
    assert t.end() == 0


def test_words_that_are_no_commands(term):
    t = term()
    assert "did you mean /clear" in t.ask("/claer")
    out = t.ask("/?")
    for command in ("/set", "/show", "/clear", "/save", "/load", "/bye"):
        assert command in out
    t.ask("/etc/passwd is what?")
    assert said(t.ask("/show messages"))[0] == ("user", "/etc/passwd is what?")
    t.type("/cl\t")
    assert "a new conversation" in t.ask("") and t.end() == 0


def test_a_conversation_longer_than_the_context(term):
    t = term("-c", "96", "-n", "16")
    outs = [t.ask(f"question number {i}") for i in range(8)]
    assert any("no longer fits the context" in o for o in outs) and all("16 tokens" in o for o in outs)
    left = said(t.ask("/show messages"))
    assert left[0][0] == "user" and 2 <= len(left) < 16
    assert "context" in t.ask("x" * 600) and t.end() == 0  # a question too long by itself: said so, and life goes on


def test_control_characters_of_an_answer_do_not_reach_the_terminal(build, term, model):
    escape = Tokenizer.from_file(os.path.join(F.DATA, "tokenizer.json")).encode("\x1b", add_special_tokens=False).ids
    assert len(escape) == 1
    bias = ["--logit-bias", f"{escape[0]}=100"]
    t = term(*bias, env={"NO_COLOR": "1"})
    t.p.send("hello\r")
    t.p.expect("tokens/s")
    said = t.p.before.split("\x1b[?2004l")[-1]
    assert "????????????" in said and "\x1b" not in said
    t.prompt()
    assert t.end() == 0
    done = subprocess.run([build / "rocmforge", "run", model, "hi", "--raw", "-t", "0", "-n", "4", "--ignore-eos", *bias], capture_output=True, timeout=60)
    assert done.stdout == b"\x1b" * 4 + b"\n"  # a pipe gets what was said


@pytest.mark.parametrize("env", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_no_colour_where_none_is_wanted(term, env):
    t = term(env=env)
    t.p.send("int main\r")
    t.p.expect("tokens/s")
    assert "\x1b[1" not in t.p.before and "\x1b[2m" not in t.p.before
    t.prompt()
    assert t.end() == 0


def test_a_model_without_a_template_says_so(term):
    t = term(template=None, prompt=False)
    t.expect("no chat template")
    t.prompt()
    t.ask("int main")
    assert t.end() == 0


def test_progress_on_a_terminal_alone(build, model, tmp_path):
    (tmp_path / "t.txt").write_text("int main(void) { return 0; }\n" * 200)
    for args, word in ((["perplexity", model, tmp_path / "t.txt", "--ctx", "64"], "scoring ["), (["bench", model, "--pp", "8", "--tg", "4"], "pp [")):
        p = pexpect.spawn(str(build / "rocmforge"), [str(a) for a in args], encoding="utf-8", timeout=120)
        p.expect(pexpect.EOF)
        p.close()
        assert p.exitstatus == 0 and "loading [" in p.before and word in p.before
        last = re.split(r"\r\x1b\[K", p.before)[-1]  # the bar is gone before the result is printed
        assert "[#" not in last and last.strip()
        done = subprocess.run([build / "rocmforge", *args], capture_output=True, timeout=120)
        assert done.returncode == 0 and b"[" not in done.stderr and b"\x1b" not in done.stdout + done.stderr


def test_terminal_in_and_pipe_out_is_no_conversation(build, model):
    import pty
    main, side = pty.openpty()
    done = subprocess.run([build / "rocmforge", "run", model], stdin=side, capture_output=True, timeout=60)
    os.close(main), os.close(side)
    assert done.returncode == 2 and done.stdout == b"" and b"prompt" in done.stderr


def test_it_ends_by_signal_and_leaves_the_terminal_usable(term):
    import signal
    import termios
    t = term()
    before = termios.tcgetattr(t.p.child_fd)[3] & termios.ICANON
    assert not before  # a line is being edited
    t.p.kill(signal.SIGTERM)
    t.p.expect(pexpect.EOF)
    t.p.close()
    assert t.p.signalstatus == signal.SIGTERM or t.p.exitstatus is not None
