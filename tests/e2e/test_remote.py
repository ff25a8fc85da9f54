"""`rocmforge run --server`: a conversation with a model that another server computes. Ours, with a real model and with the fake engine, and
servers that answer wrongly, slowly, endlessly or not at all."""
import contextlib
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

import pexpect
import pytest
import requests
from program import TEMPLATE, Program
from rfapi import binary, slow_factor, until

HI = ["-t", "0", "-n", "12", "--ignore-eos"]


@pytest.fixture(scope="module")
def prog(build, tmp_path_factory):
    return Program(build, tmp_path_factory.mktemp("remote"))


@pytest.fixture(scope="module")
def ours(prog):
    s = prog.serve("rocmforge-demo", "--chat-template", TEMPLATE)
    yield s.url
    assert s.stop() == 0


@pytest.fixture
def fake():
    made = []

    def start(*args):
        p = subprocess.Popen([binary(), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        made.append(p)
        return p.stdout.readline().strip()

    yield start
    for p in made:
        p.send_signal(signal.SIGTERM)
        assert p.wait(60) == 0


# ---- a server that says what it is told to ----

def chunk(**choice):
    return b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n"


HELLO = chunk(delta={"role": "assistant", "content": ""}) + chunk(delta={"content": "Hel"}) + chunk(delta={"content": "lo"}, finish_reason="stop")
USAGE = b'data: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":2,"prompt_tokens_details":{"cached_tokens":4}}}\n\ndata: [DONE]\n\n'


def http(body, status="200 OK", kind="text/event-stream", length=False, **headers):
    head = [f"HTTP/1.1 {status}", *([f"Content-Type: {kind}"] if kind else []), "Connection: close", *(f"{k.replace('_', '-')}: {v}" for k, v in headers.items())]
    if length:
        head.append(f"Content-Length: {len(body)}")
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def listing(*names, owner="somebody"):
    return http(json.dumps({"object": "list", "data": [{"id": n, "owned_by": owner} for n in names]}).encode(), kind="application/json", length=True)


class Scripted:
    """Answers GET with `models` and POST with `answer`: bytes, or a function that is given the connection. Keeps the requests."""

    def __init__(self, answer=http(HELLO + USAGE), models=listing("m"), tls=None):
        self.answer, self.models, self.tls, self.seen, self.closed = answer, models, tls, [], threading.Event()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http{'s' if tls else ''}://127.0.0.1:{self.listener.getsockname()[1]}"
        threading.Thread(target=self.accept, daemon=True).start()

    def accept(self):
        with contextlib.suppress(OSError):
            while True:
                threading.Thread(target=self.talk, args=[self.listener.accept()[0]], daemon=True).start()

    def talk(self, c):
        with c, contextlib.suppress(OSError):
            if self.tls:
                c = self.tls.wrap_socket(c, server_side=True)
            data = b""
            while b"\r\n\r\n" not in data:
                more = c.recv(65536)
                if not more:
                    return
                data += more
            head, _, body = data.partition(b"\r\n\r\n")
            size = int((re.search(rb"content-length: (\d+)", head, re.I) or [0, 0])[1])
            while len(body) < size:
                body += c.recv(65536)
            self.seen.append((head.decode(), json.loads(body) if body else None))
            reply = self.answer if head.startswith(b"POST") else self.models
            if callable(reply):
                reply(c, self)
            else:
                c.sendall(reply)

    def body(self):
        return next(b for _, b in reversed(self.seen) if b)


@pytest.fixture
def scripted():
    made = []

    def start(*args, **kw):
        made.append(Scripted(*args, **kw))
        return made[-1]

    yield start
    for s in made:
        s.listener.close()


# ---- the same as here ----

def test_the_same_answer_as_from_the_model_here(prog, ours):
    args = [*HI, "--system", "Be brief."]
    here, _ = prog.run("run", "rocmforge-demo", "int main", "--chat-template", TEMPLATE, *args)
    there, err = prog.run("run", "--server", ours, "rocmforge-demo", "int main", *args)
    assert there == here and err == ""
    there, err = prog.run("run", "--server", ours, "-v", *args, stdin="int main")  # the only model there; through a pipe
    assert there == here
    assert re.fullmatch(r"prompt \d+ tokens \(\d+ cached\) in [0-9.]+ s, [0-9.]+ tokens/s; answer 12 tokens in [0-9.]+ s, [0-9.]+ tokens/s\n", err), err
    there, _ = prog.run("run", "int main", *args, ROCMFORGE_SERVER=ours.split("//")[1])  # from the settings; words that name no model are the prompt
    assert there == here
    raw, _ = prog.run("run", "rocmforge-demo", "int main", "--raw", *HI)
    assert prog.run("run", "--server", ours + "/v1/", "rocmforge-demo", "int main", "--raw", *HI)[0] == raw
    assert prog.run("run", "--server", ours, "int main", "--raw", *HI)[0] == raw
    assert prog.run("run", "--server", "", "rocmforge-demo", "int main", "--raw", *HI, ROCMFORGE_SERVER=ours)[0] == raw  # "" turns it off


def test_a_key(prog, fake):
    url = fake("--key", "s3cret")
    out, err = prog.run("run", "--server", url, "hello there", code=3)
    assert out == "" and "401" in err and "--api-key" in err and "s3cret" not in err and err.count("\n") == 1
    out, err = prog.run("run", "--server", url, "hello there", "--api-key", "wrong", code=3)
    assert "401" in err and "wrong" not in err
    a, _ = prog.run("run", "--server", url, "hello there", "--api-key", "s3cret", "-n", "5")
    b, _ = prog.run("run", "--server", url, "hello there", "-n", "5", ROCMFORGE_API_KEY="s3cret")
    assert a == b and a.strip()
    assert "--api-key is for another server" in prog.run("run", "rocmforge-demo", "hi", "--api-key", "x", code=2)[1]


def test_the_fake_engine_over_many_pieces(prog, fake):
    url = fake()
    out, err = prog.run("run", "--server", url, "fake", "@len=300 tell me more", "-v")
    assert out == "word " * 60 + "\n" and "answer 300 tokens" in err, err
    whole = requests.post(url + "/v1/chat/completions", json={"messages": [{"role": "user", "content": "@unicode @chunk=1 \u00e4"}]}).json()["choices"][0]["message"]["content"]
    assert prog.run("run", "--server", url, "@unicode @chunk=1 \u00e4")[0] == whole.rstrip("\n") + "\n" and not whole.isascii()
    out, err = prog.run("run", "--server", url, "@len=50 @after=5 @error=numeric go", code=1)
    assert out.startswith("word ") and out.count("word") <= 50 and "127.0.0.1" in err and err.count("\n") == 1, err
    _, err = prog.run("run", "--server", url, "nobody", "tell me", code=1)
    assert "404" in err and "It lists: fake" in err


# ---- settings become fields ----

def test_settings_become_fields(prog, scripted):
    s = scripted(models=listing("a", "b", owner="rocmforge"))
    out, err = prog.run("run", "--server", s.url, "b", "Hi?", "--system", "Sys", "-t", "0.5", "--top-k", "7", "--top-p", "0.25", "--min-p", "0.125", "--typical-p", "0.75",
                        "--repetition-penalty", "1.5", "--presence-penalty", "-1", "--frequency-penalty", "0.5", "-s", "42", "-n", "33", "--min-tokens", "2",
                        "--stop", "x", "--stop", "y\n", "--logit-bias", "5=-2.5", "--ignore-eos")
    assert out == "Hello\n" and err == ""
    assert s.body() == {
        "model": "b", "messages": [{"role": "system", "content": "Sys"}, {"role": "user", "content": "Hi?"}], "temperature": 0.5, "top_k": 7, "top_p": 0.25, "min_p": 0.125,
        "typical_p": 0.75, "repetition_penalty": 1.5, "presence_penalty": -1.0, "frequency_penalty": 0.5, "seed": 42, "max_tokens": 33, "min_tokens": 2, "stop": ["x", "y\n"],
        "logit_bias": {"5": -2.5}, "ignore_eos": True, "stream": True, "stream_options": {"include_usage": True}}
    assert [h.split("\r\n")[0] for h, _ in s.seen] == ["GET /v1/models HTTP/1.1", "POST /v1/chat/completions HTTP/1.1"]
    assert "Authorization" not in s.seen[1][0]
    prog.run("run", "--server", s.url, "What is that?")  # nothing set, nothing sent; the first model
    assert s.body() == {"model": "a", "messages": [{"role": "user", "content": "What is that?"}], "stream": True, "stream_options": {"include_usage": True}}
    prog.run("run", "--server", s.url + "/deep/path", "a", "once", "--raw", "-n", "3", "--api-key", "k y".replace(" ", ""))
    assert s.seen[-1][0].startswith("POST /deep/path/completions ") and "Authorization: Bearer ky\r\n" in s.seen[-1][0] + "\r\n"
    assert s.body() == {"model": "a", "prompt": "once", "max_tokens": 3, "stream": True, "stream_options": {"include_usage": True}}


@pytest.mark.parametrize("owner,refused,field", [("library", "--top-k 3", None), ("library", "--min-p 0.1", None), ("library", "--logit-bias 1=2", None), ("library", "--ignore-eos", None),
                                                 ("vllm", "--typical-p 0.5", None), ("llamacpp", "--min-tokens 4", None),
                                                 ("llamacpp", "--repetition-penalty 1.1", "repeat_penalty"), ("vllm", "--repetition-penalty 1.1", "repetition_penalty")])
def test_what_a_server_cannot_do_is_refused_by_name(prog, scripted, owner, refused, field):
    s = scripted(models=listing("m:latest", owner=owner))
    out, err = prog.run("run", "--server", s.url, "m", "hi", *refused.split(), code=0 if field else 2)
    if field:
        assert s.body()[field] == 1.1 and s.body()["model"] == "m:latest"
    else:
        assert refused.split()[0] in err and len(s.seen) == 1  # nothing was asked


@pytest.mark.parametrize("server", [True, False])
def test_a_system_message_that_is_no_text_is_not_left_out(prog, scripted, server):
    where = ["--server", scripted().url, "m"] if server else ["rocmforge-demo", "--chat-template", TEMPLATE]
    done = subprocess.run([prog.exe, "run", *where, "hi", "--system", b"\xff", "-n", "1"], capture_output=True, timeout=60, env=prog.env(), cwd=prog.cwd)
    assert done.returncode == 1 and b"system message is not valid UTF-8" in done.stderr


def test_an_unknown_server_gets_them_with_a_word(prog, scripted):
    s = scripted()
    out, err = prog.run("run", "--server", s.url, "m", "hi", "--top-k", "3")
    assert out == "Hello\n" and s.body()["top_k"] == 3 and '--top-k is sent as "top_k"' in err and err.count("\n") == 1


@pytest.mark.parametrize("option", ["--threads 2", "--ctx 100", "--device cpu", "--chat-template x", "--kv-type f16", "--precise", "--model-dir .", "--no-prefix-cache", "--isa ref"])
def test_what_only_the_other_side_could_do_is_refused(prog, option):
    out, err = prog.run("run", "--server", "http://127.0.0.1:1", "m", "hi", *option.split(), code=2)
    assert option.split()[0] in err and "--server" in err


def test_settings_of_a_file_for_local_models_are_no_hindrance(prog, scripted, tmp_path):
    s = scripted()
    (tmp_path / "c.toml").write_text(f'threads = 2\nctx = 64\nmodel = "not-there"\nserver = "{s.url}"\napi_key = "k"\n')
    out, err = prog.run("run", "--config", tmp_path / "c.toml", stdin="hi")
    assert out == "Hello\n" and err == "" and s.body()["model"] == "m" and "Bearer k" in s.seen[-1][0]
    prog.run("run", "--server", s.url, "--config", tmp_path / "c.toml", stdin="hi")  # a key of a file goes to the server of the file, and to no other
    assert "Authorization" not in s.seen[-1][0]
    out, _ = prog.run("config", "run", "--config", tmp_path / "c.toml")
    assert s.url in out and "(hidden)" in out


# ---- which model ----

def test_which_model(prog, scripted):
    s = scripted(models=http(json.dumps({"data": [{"id": "cold", "owned_by": "rocmforge", "meta": None}, {"id": "warm", "meta": {}}, 7, {"no": 1}, {"id": ""}]}).encode(),
                             kind="application/json", length=True))
    for args, model in ((["hello you"], "warm"), (["cold", "hello"], "cold"), (["unlisted", "hello"], "unlisted"), (["-m", "cold", "hello you"], None), (["cold"], "cold")):
        prog.run("run", "--server", s.url, *args, stdin="" if len(args) > 1 or " " in args[0] else "piped")
        if model:
            assert s.body()["model"] == model, args
    none = scripted(models=http(b'{"object":"list","data":null}', kind="application/json", length=True))
    assert "lists no models" in prog.run("run", "--server", none.url, "hello you", code=3)[1]
    without = scripted(models=http(b"no", status="404 Not Found", kind="text/plain", length=True))
    assert prog.run("run", "--server", without.url, "m", "hi")[0] == "Hello\n"
    assert "404" in prog.run("run", "--server", without.url, "hi there", code=3)[1]


# ---- what may come back ----

def endless(piece, head=b""):
    def send(c, server):
        c.sendall(http(head))
        while True:
            c.sendall(piece)
    return send


def slow_death(c, server):
    c.sendall(http(chunk(delta={"content": "half"})))


BAD = {
    "endless line": (endless(b"data: " + b"x" * 65536), "a line of over 1048576 bytes"),
    "endless comment": (endless(b"x" * 65536, b":"), "a line of over"),
    "endless event": (endless(b"data: " + b"x" * 65536 + b"\n"), "an event of over 4194304 bytes"),
    "endless JSON": (lambda c, s: [c.sendall(http(b"", kind="application/json"))] + [c.sendall(b" " * (1 << 20)) for _ in range(64)], "over 4194304 bytes"),
    "no JSON": (http(b"data: {oops\n\n"), "event 1 of the answer is no JSON"),
    "deep JSON": (http(b"data: " + b"[" * 100000 + b"\n\n"), "is no JSON"),
    "no UTF-8": (http(b'data: {"choices":[{"delta":{"content":"\xff"}}]}\n\n'), "is no JSON"),
    "closed early": (slow_death, "ended before the answer did"),
    "closed in a chunk": (http(b"fff\r\ndata: ", Transfer_Encoding="chunked"), "127.0.0.1"),
    "closed before": (lambda c, s: None, "Empty reply"),
    "empty": (http(b"", length=True), "an empty answer"),
    "an error event": (http(chunk(delta={"content": "a"}) + b'event: error\ndata: {"error":{"message":"out of cheese\x1b[2J"}}\n\n'), "no JSON"),
    "an error": (http(chunk(delta={"content": "a"}) + b'data: {"error":{"message":"out of cheese \\u001b[2J"}}\n\n'), "out of cheese ?[2J"),
    "a page": (http(b"<html>hello</html>", kind="text/html"), '"text/html", expected text/event-stream'),
    "no type": (http(b"hello", kind=None), "expected text/event-stream"),
    "JSON of something else": (http(b'{"hello": 1}', kind="application/json"), 'no "choices"'),
    "a redirect": (http(b"", status="302 Found", Location="http://127.0.0.1:9/elsewhere"), "it sends elsewhere, to http://127.0.0.1:9/elsewhere"),
    "not HTTP": (b"220 mail.example ESMTP\r\n", "127.0.0.1"),
    "an old HTTP": (b"HTTP/0.9\r\n\r\n", "127.0.0.1"),
    "endless head": (lambda c, s: [c.sendall(b"HTTP/1.1 200 OK\r\n")] + [c.sendall(b"X: " + b"y" * 60000 + b"\r\n") for _ in range(2000)], "127.0.0.1"),
    "busy": (http(b'{"error":{"message":"Busy."}}', status="503 Service Unavailable", kind="application/json", length=True, Retry_After="7"), "503: Busy; it is busy or still loading: try again later (in 7 s"),
    "its page of an error": (http(b"<html>x</html>", status="502 Bad Gateway", kind="text/html", length=True), "status 502\n"),
    "Ollama's way": (http(b'{"error":"model not found"}', status="404 Not Found", kind="application/json", length=True), "model not found"),
    "FastAPI's way": (http(b'{"detail":[{"msg":"field required"}]}', status="422 Unprocessable", kind="application/json", length=True), "field required"),
    "too long": (http(b'{"error":{"message":"Too much.","code":"context_length_exceeded"}}', status="400 Bad Request", kind="application/json", length=True), "Too much."),
    "gzip": (http(b"\x1f\x8b\x08\x00", Content_Encoding="gzip"), "ended before the answer did"),
}


def harmless(text):
    return not any(c < " " and c != "\n" or "\x7f" <= c <= "\x9f" for c in text)


@pytest.mark.parametrize("case", BAD)
def test_wrong_answers_end_in_a_line(prog, scripted, case):
    answer, said = BAD[case]
    s = scripted(answer)
    start = time.monotonic()
    out, err = prog.run("run", "--server", s.url, "m", "hi", code=1)
    assert said in err and harmless(err) and err.startswith("rocmforge: ") and time.monotonic() - start < 10 * slow_factor(), err
    assert len([h for h, _ in s.seen if h.startswith("POST")]) == 1  # and nowhere else


@pytest.mark.parametrize("models,said", [(http(b"[" * 200000, kind="application/json"), "no list of models"), (http(b'{"data":{}}', kind="application/json"), "no list of models"),
                                         (http(b"", status="301 Moved", Location="https://example.invalid/"), "sends elsewhere"),
                                         (lambda c, s: [c.sendall(http(b"", kind="application/json"))] + [c.sendall(b" " * (1 << 20)) for _ in range(64)], "over 4194304"),
                                         (listing("evil\x1b[2J"), None)])
def test_wrong_lists(prog, scripted, models, said):
    s = scripted(models=models)
    if said:
        out, err = prog.run("run", "--server", s.url, "m", "hi", code=3)
        assert said in err and harmless(err) and out == ""
    else:
        s.answer = http(b'{"error":{"message":"no"}}', status="404 Not Found", kind="application/json", length=True)
        assert harmless(prog.run("run", "--server", s.url, "m", "hi", code=1)[1])


def test_nobody_there(prog):
    with socket.create_server(("127.0.0.1", 0)) as s:
        port = s.getsockname()[1]
    for url, said in ((f"http://127.0.0.1:{port}", "rocmforge serve"), ("http://nobody.invalid", "nobody.invalid")):
        out, err = prog.run("run", "--server", url, "m", "hi", code=3)
        assert said in err and url in err and err.count("\n") == 1
    for url in ("ftp://x", "http://", "http://a:b@c", "file:///etc/passwd", "http://x/\r\nEvil: 1"):
        out, err = prog.run("run", "--server", url, "m", "hi", code=2)
        assert "--server" in err and harmless(err) and "a:b" not in err


def test_answers_in_other_shapes(prog, scripted):
    s = scripted(http(b'{"choices":[{"message":{"content":"all at once"},"finish_reason":"stop"}]}', kind="application/json; charset=utf-8", length=True))
    out, err = prog.run("run", "--server", s.url, "m", "hi", "-v")
    assert out == "all at once\n" and "counts no tokens" in err
    s.answer = http(chunk(delta={"reasoning_content": "let me see"}) + HELLO.replace(b"\n", b"\r") + b": bye\r\r" + b"\xff\xff", kind="Text/Event-Stream ; x=y")
    assert prog.run("run", "--server", s.url, "m", "hi")[0] == "Hello\n"  # a pipe gets the answer alone
    s.answer = http(chunk(delta={"tool_calls": [{}]}, finish_reason="tool_calls"))
    assert "asks for a tool" in prog.run("run", "--server", s.url, "m", "hi")[1]
    s.answer = http(chunk(delta={"content": "a\x1b[2Jb\x00c"}, finish_reason="stop"))
    assert prog.run("run", "--server", s.url, "m", "hi")[0] == "a\x1b[2Jb\x00c\n"  # what was said, as from a model here
    body = HELLO + USAGE
    s.answer = lambda c, _: [c.sendall(http(b""))] + [c.sendall(body[i:i + 1]) for i in range(len(body))]
    assert prog.run("run", "--server", s.url, "m", "hi")[0] == "Hello\n"


def test_a_proxy_is_not_asked_for_this_machine(prog, scripted):
    s = scripted()
    assert prog.run("run", "--server", s.url, "m", "hi", http_proxy="http://127.0.0.1:9", HTTP_PROXY="http://127.0.0.1:9", ALL_PROXY="http://127.0.0.1:9")[0] == "Hello\n"


def test_certificates_are_checked(prog, scripted, tmp_path):
    import ssl
    made = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", tmp_path / "k", "-out", tmp_path / "c",
                           "-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"], capture_output=True) if pathlib.Path("/usr/bin/openssl").exists() else None
    if not made or made.returncode:
        pytest.skip("no openssl command")
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    tls.load_cert_chain(tmp_path / "c", tmp_path / "k")
    s = scripted(tls=tls)
    _, err = prog.run("run", "--server", s.url, "m", "hi", code=3)
    assert s.url.startswith("https:") and "certificate" in err and "trusts" in err and not s.seen, err


def test_without_libcurl_it_says_what_to_install(prog, tmp_path):
    for name in ("libcurl.so.4", "libcurl-gnutls.so.4"):
        (tmp_path / name).write_text("no library")
    _, err = prog.run("run", "--server", "http://127.0.0.1:1", "m", "hi", code=3, LD_LIBRARY_PATH=tmp_path)
    assert "apt install libcurl4" in err and err.count("\n") == 1
    libs = subprocess.run(["ldd", prog.exe], capture_output=True, text=True).stdout
    assert "libcurl" not in libs  # no other command waits for it


# ---- Ctrl-C and the terminal ----

def hold(c, server):
    """Half an answer, then silence until the other side goes."""
    c.sendall(http(chunk(delta={"content": "half"})))
    if c.recv(1) == b"":
        server.closed.set()


def test_interrupt_closes_the_connection(prog, scripted):
    s = scripted(hold)
    p = subprocess.Popen([prog.exe, "run", "--server", s.url, "m", "hi"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=prog.env())
    assert os.read(p.stdout.fileno(), 100) == b"half"
    p.send_signal(signal.SIGINT)
    assert p.wait(20) == 130 and p.stdout.read() == b"\n" and p.stderr.read() == b"" and s.closed.wait(20)


def test_a_reader_that_goes_away_ends_it(prog, scripted):
    s = scripted(endless(chunk(delta={"content": "more and more "})))
    p = subprocess.Popen([prog.exe, "run", "--server", s.url, "m", "hi"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=prog.env())
    p.stdout.read(100)
    p.stdout.close()
    assert p.wait(20) == 1 and p.stderr.read() == b""


def test_a_conversation(prog, scripted):
    s = scripted(models=listing("some/model"))
    env = {**prog.env(), "TERM": "xterm-256color", "LC_ALL": "C.UTF-8"}
    p = pexpect.spawn(str(prog.exe), ["run", "--server", s.url], env=env, encoding="utf-8", timeout=30, dimensions=(40, 120), cwd=str(prog.cwd))

    def prompt():
        p.expect(r">>>(\x1b\[0m)? ")
        return re.sub(r"\x1b\[[?0-9;]*[a-zA-Z]", "", p.before).replace("\r\n", "\n").replace("\r", "")

    def ask(text):
        p.send(text + "\r")
        return prompt()

    assert f"some/model at {s.url}/v1" in prompt()
    out = ask("hi")
    assert re.search(r"\nHello\n\[2 tokens, [0-9.]+ tokens/s, first after [0-9.]+ s\]\n", out), out
    s.answer = http(chunk(delta={"reasoning_content": "think\x1b[2J"}) + HELLO)
    out = ask("again")
    assert re.search(r"think\?\[2J\n\nHello\n\[first after [0-9.]+ s, [0-9.]+ s in all\]", out), out
    assert [m["content"] for m in s.body()["messages"]] == ["hi", "Hello", "again"]
    s.answer = hold
    p.send("stop\r")
    p.expect("half")
    p.sendintr()
    prompt()
    assert s.closed.wait(20)
    s.answer = http(b'{"error":{"message":"Too much.","code":"context_length_exceeded"}}', status="400 Bad Request", kind="application/json", length=True)
    assert "Too much." in ask("long")
    s.answer = http(b'{"error":{"message":"broken"}}', status="500 Oops", kind="application/json", length=True)
    assert "status 500: broken" in ask("bad")
    s.answer = http(HELLO)
    ask("/set temperature 0.5")
    ask("/set system Kind.")
    ask("last")
    messages = s.body()["messages"]
    assert messages[0] == {"role": "system", "content": "Kind."} and messages[-1]["content"] == "last" and s.body()["temperature"] == 0.5
    assert "bad" not in [m["content"] for m in messages]  # a question without an answer is none
    shown = ask("/show")
    assert "some/model" in shown and s.url in shown
    ask("/clear")
    ask("fresh")
    assert [m["content"] for m in s.body()["messages"]] == ["Kind.", "fresh"]
    p.send("/bye\r")
    p.expect(pexpect.EOF)
    p.close()
    assert p.exitstatus == 0 and "Sanitizer" not in p.before


def test_the_server_is_rid_of_a_client_that_stops(prog, fake):
    """Our own server notices, and the sequence ends."""
    url = fake()
    p = subprocess.Popen([prog.exe, "run", "--server", url, "fake", "@delay=20 @len=100000 go on"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, env=prog.env())
    assert os.read(p.stdout.fileno(), 1)

    def running():
        return float(re.search(r"^vllm:num_requests_running\S* (\S+)", requests.get(url + "/metrics").text, re.M)[1])

    p.send_signal(signal.SIGINT)
    assert p.wait(20) == 130 and until(lambda: running() == 0, 20)
