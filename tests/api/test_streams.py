"""Streams: framing, Unicode, keep-alive, clients that leave or do not read."""
import json
import random
import re
import socket
import struct
import threading
import time

import pytest
import requests

from rfapi import PATIENCE, events, frames, slow_factor, until


def stream(server, text, path="/v1/chat/completions", **kw):
    b = {"model": server.model, "stream": True, **kw}
    b.update({"messages": [{"role": "user", "content": text}]} if "chat" in path else {"prompt": text})
    return server.post(path, b)


def request_bytes(server, text, is_stream=True, **kw):
    body = json.dumps({"model": server.model, "stream": is_stream, "messages": [{"role": "user", "content": text}], **kw}).encode()
    return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body)) + body


def test_framing(server):
    r = stream(server, "Hello there", max_tokens=12, n=2)
    assert r.headers["content-type"] == "text/event-stream; charset=utf-8" and r.headers["cache-control"] == "no-cache"
    assert r.headers["x-accel-buffering"] == "no" and r.headers["x-request-id"]
    ev = events(r.content.decode("utf-8"))
    assert len({(e["id"], e["created"], e["model"], e["object"]) for e in ev}) == 1 and ev[0]["object"] == "chat.completion.chunk"
    assert all(len(e["choices"]) == 1 and "usage" not in e for e in ev)
    for i in range(2):
        mine = [e["choices"][0] for e in ev if e["choices"][0]["index"] == i]
        assert mine[0]["delta"] == {"role": "assistant", "content": ""}
        assert all("role" not in c["delta"] for c in mine[1:])
        assert mine[-1]["delta"] == {} and mine[-1]["finish_reason"] in ("stop", "length")
        assert all(c["finish_reason"] is None for c in mine[:-1])


def test_usage_chunk(server):
    ev = events(stream(server, "Hello", max_tokens=5, stream_options={"include_usage": True}).text)
    assert ev[-1]["choices"] == [] and ev[-1]["usage"]["total_tokens"] > 0 and all(e["usage"] is None for e in ev[:-1])
    ev = events(stream(server, "Hello", max_tokens=5, stream_options={"continuous_usage_stats": True, "include_usage": True}).text)
    counts = [e["usage"]["completion_tokens"] for e in ev]
    assert counts == sorted(counts) and all(e["usage"]["prompt_tokens"] > 0 for e in ev)


def test_completion_stream(server):
    ev = events(stream(server, "Once", "/v1/completions", max_tokens=5).text)
    assert all(e["object"] == "text_completion" for e in ev)
    assert [bool(e["choices"][0]["finish_reason"]) for e in ev] == [False] * (len(ev) - 1) + [True]


@pytest.mark.fake
def test_echo_stream(server):
    for kw in ({}, {"logprobs": 1}):
        ev = events(stream(server, "ab", "/v1/completions", max_tokens=3, echo=True, **kw).text)
        assert "".join(e["choices"][0]["text"] for e in ev) == "abech"
        lps = [e["choices"][0]["logprobs"] for e in ev if e["choices"][0]["logprobs"]]
        tokens = [t for lp in lps for t in lp["tokens"]]
        assert tokens == (["<|bos|>", "a", "b", "e", "c", "h"] if kw else [])


@pytest.mark.fake
@pytest.mark.parametrize("chunk", [1, 2, 3, 5, 7])
def test_unicode_splits(server, chunk):
    raw = stream(server, f"@unicode \u00fc\U0001F600 @chunk={chunk}").content
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in events(raw.decode("utf-8")))
    assert text == "h\u00e9llo \U0001F44B\U0001F3FD \u65e5\u672c echo: \u00fc\U0001F600 "
    for f in frames(raw.decode("utf-8")):
        assert "\ufffd" not in f


@pytest.mark.fake
def test_logprobs_with_held_back_text(server):
    ev = events(stream(server, "@unicode", logprobs=True, top_logprobs=1).text)
    lp = [t for e in ev for t in ((e["choices"][0]["logprobs"] or {}).get("content") or [])]
    text = "".join(e["choices"][0]["delta"].get("content", "") for e in ev)
    assert b"".join(bytes(t["bytes"]) for t in lp).decode() == text


@pytest.mark.fake
def test_ping_during_prefill(server):
    raw = stream(server, "x @prefill=3500").text
    assert raw.count(": ping\n\n") >= 1
    assert events(raw)


@pytest.mark.fake
def test_error_closes_connection(server):
    with server.connect() as s:
        s.sendall(request_bytes(server, "abc @error=numeric @after=4"))
        data = b""
        while part := s.recv(65536):
            data += part
    assert b'data: {"error":{"message":' in data and b"[DONE]" not in data and b'"code":"numeric_error"' in data
    assert b'"finish_reason":"' not in data


@pytest.mark.fake
def test_slow_start_error_is_in_stream(server):
    """Headers wait for the first event only so long; an error after that is an event."""
    r = stream(server, "x @prefill=2600 @error=numeric")
    assert r.status_code == 200 and '"numeric_error"' in r.text


def close_hard(s):
    s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    s.close()


@pytest.mark.fake
def test_200_clients_vanish(server):
    rng = random.Random(7)
    gone = server.metric("rocmforge_http_disconnects_total")

    def client(i):
        s = server.connect()
        s.sendall(request_bytes(server, f"@len=100000 @delay={rng.choice([1, 5, 50])}", is_stream=i % 3 != 0, n=1 + i % 2, max_tokens=4000))
        time.sleep(rng.random() * 0.5)
        if i % 3:
            s.setblocking(False)
            try:
                s.recv(rng.randrange(1, 4096))
            except BlockingIOError:
                pass
        close_hard(s) if i % 2 else s.close()

    threads = [threading.Thread(target=client, args=(i,)) for i in range(200)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert server.wait_idle(), server.running()  # those of 50 ms a token would take minutes to end by themselves
    assert server.metric("rocmforge_http_disconnects_total") - gone >= 150
    assert server.chat("after").status_code == 200


@pytest.mark.fake
def test_queued_client_leaves_before_prefill(launch):
    s = launch("--running", 1)
    a = s.connect()
    a.sendall(request_bytes(s, "@len=4000 @delay=50"))
    assert until(lambda: s.metric("vllm:num_requests_running") == 1)
    before = s.metric("vllm:prompt_tokens_total")
    queued = []
    for is_stream in (True, False):
        c = s.connect()
        c.sendall(request_bytes(s, "never runs", is_stream=is_stream))
        queued.append(c)
    assert until(lambda: s.metric("vllm:num_requests_waiting") == 2)
    queued[0].close()
    queued[1].shutdown(socket.SHUT_WR)  # closing only the sending side counts as leaving
    assert until(lambda: s.metric("vllm:num_requests_waiting") == 0)
    assert queued[1].recv(100) == b""
    assert s.metric("vllm:prompt_tokens_total") == before
    a.close()
    assert s.wait_idle()
    assert s.metric("vllm:prompt_tokens_total") == before


@pytest.mark.fake
def test_slow_reader(launch):
    """It is dropped, and until then nobody waits for it: a server that did would keep others for as long as `--slow` says."""
    s = launch("--slow", 3, "--buffer", 65536, "--ping", 1)
    c = socket.socket()
    c.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    c.connect(("127.0.0.1", s.port))
    c.sendall(request_bytes(s, "@len=4000 @chunk=4000", ignore_eos=True, max_tokens=3900, n=8))
    gaps, end = [], time.time() + PATIENCE
    while time.time() < end and s.metric("rocmforge_http_slow_readers_total") < 1:
        t = time.time()
        assert s.chat("others").status_code == 200
        gaps.append(time.time() - t)
    assert s.metric("rocmforge_http_slow_readers_total") == 1
    assert s.wait_idle() and max(gaps) < 2.5, sorted(gaps)[-5:]
    assert s.rss_kb() < 100_000 * slow_factor()
    c.close()


@pytest.mark.fake
def test_stream_to_end_while_reader_pauses(launch):
    """A reader that pauses for less than the limit loses nothing."""
    s = launch("--slow", 30)
    r = s.post("/v1/completions", {"prompt": "@len=20000 @chunk=50 x", "max_tokens": 400, "stream": True}, stream=True)
    it = r.iter_content(1000)
    first = next(it)
    time.sleep(1)
    raw = first + b"".join(it)
    assert len("".join(e["choices"][0]["text"] for e in events(raw.decode()))) == 20000


def test_keep_alive_after_stream(server):
    s = requests.Session()
    ports = set()
    for _ in range(3):
        r = s.post(server.url + "/v1/chat/completions", json={"messages": [{"role": "user", "content": "x"}], "stream": True, "max_tokens": 3}, stream=True)
        ports.add(r.raw._connection.sock.getsockname())
        assert r.text.endswith("data: [DONE]\n\n")
    assert len(ports) == 1
    assert re.match(r"HTTP/1.1|11", str(r.raw.version))
