"""`rocmforge serve` with the real engine behind it: the API, clients that vanish, a clean end. Tiny model, any machine.

The shapes of requests, answers and errors are tests/api's subject; here it is what only the engine can get wrong.
"""
import concurrent.futures
import json
import os
import random
import re
import signal
import socket
import subprocess
import sys
import threading
import time

import fixtures as F
import openai
import pytest
import requests
from prometheus_client.parser import text_string_to_metric_families
from tokenizers import Tokenizer

SEED = int(os.environ.get("RF_TEST_SEED", "20260101"))


class Server:
    def __init__(self, build, model, *args):
        start = time.perf_counter()
        self.p = subprocess.Popen([build / "rocmforge", "serve", model, "--port", "0", *map(str, args)], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, errors="replace")
        self.err = []
        self.reader = threading.Thread(target=lambda: self.err.extend(self.p.stderr), daemon=True)
        self.reader.start()
        line = self.p.stdout.readline()
        found = re.search(r"http://\S+?:(\d+)", line)
        assert found, (line, self.p.poll(), "".join(self.err))
        self.url, self.port = found.group(0).rstrip("/"), int(found.group(1))
        while requests.get(self.url + "/health").status_code != 200:
            time.sleep(0.01)
        print(f"ready {1000 * (time.perf_counter() - start):.0f} ms after the start of the process")
        self.model = requests.get(self.url + "/v1/models").json()["data"][0]["id"]

    def complete(self, prompt, **kw):
        body = {"model": self.model, "prompt": prompt, "temperature": 0, "max_tokens": 16, "ignore_eos": True, **kw}
        return requests.post(self.url + "/v1/completions", json=body, timeout=120)

    def metrics(self):
        text = requests.get(self.url + "/metrics").text
        return {s.name: s.value for f in text_string_to_metric_families(text) for s in f.samples if "le" not in s.labels}

    def all_free(self, seconds=20):
        """Every block back in the pool."""
        for _ in range(int(seconds / 0.05)):
            m = self.metrics()
            if m["vllm:num_requests_running"] == m["vllm:num_requests_waiting"] == 0 and \
                    m["rocmforge_kv_blocks_free"] == m["rocmforge_kv_blocks"]:
                return True
            time.sleep(0.05)
        print(m)
        return False

    def stop(self, sig=signal.SIGTERM):
        if self.p.poll() is None:
            self.p.send_signal(sig)
        try:
            code = self.p.wait(60)
        except subprocess.TimeoutExpired:
            self.p.kill()
            raise
        self.reader.join(60)
        text = "".join(self.err)
        assert "Sanitizer" not in text and "runtime error" not in text, text[-4000:]
        return code


@pytest.fixture(scope="module")
def paths(tmp_path_factory):
    root, out = tmp_path_factory.mktemp("serve"), {}
    for name, v, t, rel in F.cases():
        if name in ("llama-F32-gguf", "gemma3-F32-gguf"):
            F.write_case(name, v, t, str(root / rel))
            out[v.name] = str(root / rel)
    return out


@pytest.fixture(scope="module", params=["llama", "gemma3"])
def server(build, paths, request):
    s = Server(build, paths[request.param], "--threads", 2)
    s.variant = next(v for v in F.VARIANTS if v.name == request.param)
    yield s
    assert s.stop() == 0, "".join(s.err)[-3000:]


def greedy(server):
    return F.expected(server.variant, "F32")["ragged"]


TOKENIZER = Tokenizer.from_file(os.path.join(F.DATA, "tokenizer.json"))


def text_of(ids):
    """Control tokens are left out; broken UTF-8 becomes U+FFFD as Hugging Face does it."""
    return TOKENIZER.decode(ids, skip_special_tokens=True)


def test_answers_are_the_model_s(server):
    for r in greedy(server):
        got = server.complete(r["prompt"], max_tokens=32).json()["choices"][0]["text"]
        assert got == text_of(r["greedy"])


def test_many_at_once_equal_alone(server):
    want = {i: text_of(r["greedy"]) for i, r in enumerate(greedy(server))}
    with concurrent.futures.ThreadPoolExecutor(24) as pool:
        jobs = [(i, pool.submit(server.complete, r["prompt"], max_tokens=32)) for i, r in list(enumerate(greedy(server))) * 6]
        for i, job in jobs:
            assert job.result().json()["choices"][0]["text"] == want[i]
    assert server.all_free()


def test_stream_equals_whole(server):
    client = openai.OpenAI(base_url=server.url + "/v1", api_key="none", max_retries=0)
    r = greedy(server)[4]
    whole = client.completions.create(model=server.model, prompt=r["prompt"], temperature=0, max_tokens=32)
    parts = list(client.completions.create(model=server.model, prompt=r["prompt"], temperature=0, max_tokens=32, stream=True,
                                           stream_options={"include_usage": True}))
    assert "".join(p.choices[0].text for p in parts if p.choices) == whole.choices[0].text
    assert parts[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert whole.usage.prompt_tokens == len(r["prompt"])


def test_n_choices_and_seed(server):
    def draw(seed):
        got = server.complete("int", n=3, temperature=1, seed=seed, max_tokens=12).json()["choices"]
        return [c["text"] for c in sorted(got, key=lambda c: c["index"])]
    assert draw(5) == draw(5) != draw(6)
    assert len(set(draw(5))) > 1


def test_logprobs_agree_with_choice(server):
    got = server.complete("for (int", logprobs=3, max_tokens=8).json()["choices"][0]["logprobs"]
    assert len(got["tokens"]) == 8
    for lp, top in zip(got["token_logprobs"], got["top_logprobs"]):
        assert lp == pytest.approx(max(top.values()), abs=1e-5) and lp <= 0


def test_bad_request_harms_no_neighbour(server):
    r = greedy(server)[5]
    want = text_of(r["greedy"])
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        good = [pool.submit(server.complete, r["prompt"], max_tokens=32) for _ in range(8)]
        bad = [pool.submit(server.complete, [10 ** 8]), pool.submit(server.complete, list(range(2, 300)) * 40),
               pool.submit(server.complete, "x", max_tokens=-1), pool.submit(server.complete, "x", temperature="warm")]
        assert all(b.result().status_code == 400 for b in bad)
        assert all(g.result().json()["choices"][0]["text"] == want for g in good)
    too_long = server.complete(list(range(2, 300)) * 40).json()["error"]
    assert too_long["code"] == "context_length_exceeded"


def test_200_clients_vanish(server):
    rng = random.Random(SEED)
    print("seed", SEED)

    def client(i):
        prompt = [2 + (i * 7 + k) % 300 for k in range(rng.randrange(1, 200))]
        body = json.dumps({"model": server.model, "prompt": prompt, "max_tokens": 200, "ignore_eos": True,
                           "stream": i % 2 == 0, "temperature": 0}).encode()
        s = socket.create_connection(("127.0.0.1", server.port))
        s.sendall(b"POST /v1/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\n"
                  b"Content-Length: %d\r\n\r\n" % len(body) + body)
        time.sleep(rng.random() * 0.5)
        if i % 3 == 0:
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # reset instead of an orderly end
        s.close()

    with concurrent.futures.ThreadPoolExecutor(40) as pool:
        list(pool.map(client, range(200)))
    assert server.all_free()
    r = greedy(server)[3]
    assert server.complete(r["prompt"], max_tokens=32).json()["choices"][0]["text"] == text_of(r["greedy"])


def test_prefix_is_cached(server):
    prompt = [2 + (i * 13) % 300 for i in range(400)]
    first = server.complete(prompt, max_tokens=4).json()
    hits = server.metrics()["vllm:prefix_cache_hits_total"]
    second = server.complete(prompt, max_tokens=4).json()
    assert first["choices"][0]["text"] == second["choices"][0]["text"]
    gained = server.metrics()["vllm:prefix_cache_hits_total"] - hits
    print("tokens found in the prefix cache:", gained)
    assert gained >= 300 or server.variant.get("sliding_window")


def test_metrics_add_up(build, paths):
    """Two sequences, one after the other: what the counters say can be told beforehand, and times fit into each other."""
    server = Server(build, paths["llama"])
    try:
        assert server.complete([5, 6, 7], max_tokens=4).status_code == server.complete([8] * 40, max_tokens=9).status_code == 200
        m = server.metrics()
        assert m["llamacpp:n_tokens_max"] == 40 + 8  # the last token is not computed any more
        assert m["llamacpp:n_busy_slots_per_decode"] == 1 and m["llamacpp:n_decode_total"] == m["vllm:iteration_tokens_total_count"]
        assert m["llamacpp:tokens_predicted_total"] == m["vllm:generation_tokens_total"] == 13
        assert m["llamacpp:prompt_tokens_total"] == m["vllm:prompt_tokens_total"] == 43
        assert m["llamacpp:prompt_tokens_seconds"] == pytest.approx(43 / m["llamacpp:prompt_seconds_total"])
        assert m["llamacpp:predicted_tokens_seconds"] == pytest.approx(13 / m["llamacpp:tokens_predicted_seconds_total"])
        sums = {k: m[f"vllm:request_{k}_time_seconds_sum"] for k in ("queue", "prefill", "decode", "inference")}
        assert m["vllm:request_inference_time_seconds_count"] == 2
        assert sums["inference"] == pytest.approx(sums["prefill"] + sums["decode"])
        assert m["vllm:e2e_request_latency_seconds_sum"] == pytest.approx(sums["queue"] + sums["inference"])
        assert abs(m["vllm:lora_requests_info"] - time.time()) < 60 and m["sglang:token_usage"] == m["vllm:kv_cache_usage_perc"]
    finally:
        assert server.stop() == 0


def test_small_pool_preempts_and_agrees(build, paths):
    v = F.VARIANTS[0]
    server = Server(build, paths["llama"], "--kv-blocks", 14, "--ctx", 128, "--no-prefix-cache")
    ragged = F.expected(v, "F32")["ragged"]
    try:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            jobs = [(r, pool.submit(server.complete, r["prompt"], max_tokens=32)) for r in ragged * 2]
            for r, job in jobs:
                assert job.result().json()["choices"][0]["text"] == text_of(r["greedy"])
        print("preemptions:", server.metrics()["vllm:num_preemptions_total"])
        assert server.all_free()
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT])
def test_drains(build, paths, sig):
    server = Server(build, paths["llama"])
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        jobs = [pool.submit(server.complete, [5, 6, 7 + i], max_tokens=400) for i in range(4)]
        while server.metrics()["vllm:num_requests_running"] < 4 and not any(j.done() for j in jobs):
            time.sleep(0.01)
        server.p.send_signal(sig)
        answers = [j.result() for j in jobs]
    assert server.stop() == 0
    assert all(a.status_code == 200 and a.json()["usage"]["completion_tokens"] == 400 for a in answers)


def test_port_in_use(build, paths):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        s.listen()
        done = subprocess.run([build / "rocmforge", "serve", paths["llama"], "--port", str(s.getsockname()[1])], capture_output=True,
                              text=True, timeout=60)
    assert done.returncode == 1 and str(s) and done.stdout == "" and "in use" in done.stderr.lower()


@pytest.mark.slow
def test_api_suite_against_the_real_engine(build, paths):
    """tests/api once more, without the fake: whatever it says of any server must hold for ours."""
    template = os.path.join(os.path.dirname(__file__), "chat.jinja")
    server = Server(build, paths["llama"], "--chat-template", template)
    try:
        done = subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider",
                               os.path.join(os.path.dirname(__file__), "../api")], capture_output=True, text=True, timeout=600,
                              env={**os.environ, "RF_BASE_URL": server.url})
        print(done.stdout[-3000:])
        assert done.returncode == 0, done.stdout[-6000:]
    finally:
        assert server.stop() == 0


@pytest.mark.parametrize("path", ["/tokenize", "/v1/completions"])
def test_long_prompts_leave_the_engine_alone(server, path):
    """While one client's long text becomes tokens, others begin and end whole answers. If the engine's thread did that work, nobody's
    answer could both begin and end meanwhile, however slow the machine."""
    text = "int a = " * (1_000_000 if path == "/tokenize" else 125_000)  # a completion's megabyte is longer than the context
    body = json.dumps({"model": server.model, "prompt": text}).encode()
    spans, running = [], threading.Event()

    def others():
        while not running.is_set():
            start = time.perf_counter()
            assert server.complete([5, 6, 7], max_tokens=4).status_code == 200
            spans.append((start, time.perf_counter()))

    t = threading.Thread(target=others)
    t.start()
    try:
        start = time.perf_counter()
        r = requests.post(server.url + path, data=body, headers={"content-type": "application/json"}, timeout=300)
        end = time.perf_counter()
    finally:
        running.set()
        t.join()
    inside = [b - a for a, b in spans if a >= start and b <= end]
    print(f"{path}: {end - start:.2f} s, {len(inside)} answers meanwhile, the slowest {max(inside, default=0):.3f} s")
    if path == "/tokenize":
        assert r.status_code == 200 and r.json()["count"] >= 2_000_000
        assert len(inside) >= 5 and max(inside) < (end - start) / 2
    else:
        assert r.status_code == 400 and r.json()["error"]["code"] == "context_length_exceeded"
