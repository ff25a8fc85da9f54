"""The system refuses one call after the other: memory, reads, mappings, threads, files, sockets. No crash, no leak, no hang;
where the server stands, it goes on.

RF_TORTURE=full takes every call; else a sample, always with the first ones.
"""
import concurrent.futures as cf
import http.client
import json
import os
import random
import re
import signal
import socket
import subprocess
import time

import fixtures as F
import pytest
import requests

SEED = int(os.environ.get("RF_TEST_SEED", "20260101"))
FULL = os.environ.get("RF_TORTURE") == "full"
KINDS = ["malloc", "read", "mmap", "thread", "open", "socket", "accept"]
OK, FAILED, USAGE, MODEL = 0, 1, 2, 3


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    path = tmp_path_factory.mktemp("torture") / "tiny.gguf"
    F.write_gguf(F.VARIANTS[0], str(path), "F32")
    return path


@pytest.fixture
def unsanitized(build):
    if b"__asan_init" in (build / "rocmforge").read_bytes():
        pytest.skip("the sanitizer's own runtime must be loaded first")


def test_allocations_of_our_own(build, tiny):
    """In one process, so that ASan sees leaks: tests/fault/torture.c."""
    sanitized = b"__asan_init" in (build / "rocmforge").read_bytes()
    done = subprocess.run([build / "tests/fault/torture", tiny, "5" if sanitized and not FULL else "1"], capture_output=True, text=True, timeout=600)
    print(done.stdout[-2000:])
    assert done.returncode == 0 and "ok 1 - every_allocation_may_fail" in done.stdout, done.stdout[-3000:] + done.stderr[-6000:]


def environment(build, fault):
    return {**os.environ, "LD_PRELOAD": str(build / "tests/fault/libfaults.so"), "RF_FAULT": fault}


def counts(path):
    return {k: int(n) for k, n in (line.split() for line in path.read_text().splitlines())}


def points(n, most):
    """1..n, or a sample of at most so many: the first third of it in a row, the rest spread."""
    if FULL or n <= most:
        return list(range(1, n + 1))
    first = most // 3
    return list(range(1, first + 1)) + sorted(random.Random(SEED).sample(range(first + 1, n + 1), most - first))


def run(build, tiny, fault):
    args = [build / "rocmforge", "run", tiny, "hi", "--max-tokens", "3", "--temperature", "0", "--threads", "2"]
    return subprocess.run(args, env=environment(build, fault), stdin=subprocess.DEVNULL, capture_output=True, timeout=60)


def test_run(build, tiny, tmp_path, unsanitized):
    """`run`, from its start to its end: the answer, or an exit code and a line that says why."""
    good = run(build, tiny, f"count:{tmp_path}/n")
    assert good.returncode == OK
    n = counts(tmp_path / "n")
    jobs = [(kind, k) for kind in KINDS for k in points(n[kind], 60 if kind == "malloc" else 30)]
    heard, wrong = 0, []
    with cf.ThreadPoolExecutor(2) as ex:
        for (kind, k), r in zip(jobs, ex.map(lambda j: run(build, tiny, f"fail:{j[0]}:{j[1]}"), jobs)):
            err = r.stderr.decode(errors="replace")
            heard += r.returncode != OK
            if r.returncode == OK and r.stdout != good.stdout:
                wrong.append(f"{kind} {k}: another answer: {r.stdout!r}")
            elif r.returncode not in (OK, FAILED, MODEL, 127):  # 127: the loader, before our first line
                wrong.append(f"{kind} {k}: exit {r.returncode}: {err}")
            elif r.returncode in (FAILED, MODEL) and not err.startswith("rocmforge: "):
                wrong.append(f"{kind} {k}: exit {r.returncode} without a line: {err!r}")
    print(f"{n} calls, {len(jobs)} refused, heard of {heard} times")
    assert not wrong, "\n".join(wrong)
    assert heard > 2


def serve(build, tiny, fault):
    """One life of a server with a fault in it -> a word for what is wrong, or None."""
    p = subprocess.Popen([build / "rocmforge", "serve", tiny, "--port", "0", "--threads", "1"], env=environment(build, fault), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, errors="replace")
    try:
        line = p.stdout.readline()
        if not line:
            return None if p.wait(30) in (FAILED, MODEL, 127) else f"exit {p.returncode}: {p.stderr.read()}"
        url = re.search(r"http://\S+?:\d+", line).group(0)
        body, good = {"prompt": [20, 21, 22], "max_tokens": 3, "temperature": 0}, 0
        for _ in range(14):
            if good == 3:
                break
            try:
                r = requests.post(url + "/v1/completions", json=body, timeout=20)
            except requests.Timeout:
                return "a request is never answered"
            except requests.ConnectionError:
                continue
            good = good + 1 if r.status_code == 200 else 0
            if r.status_code not in (200, 400, 500, 503) or (r.status_code != 200 and "error" not in r.json()):
                return f"status {r.status_code}: {r.text}"
        if good < 3:  # in a row
            return "it does not go on"
        p.send_signal(signal.SIGTERM)
        return None if p.wait(30) == OK else f"exit {p.returncode} at the end: {p.stderr.read()}"
    except subprocess.TimeoutExpired:
        return "it hangs"
    finally:
        if p.poll() is None:
            p.kill()
        p.wait()
        p.stdout.close(), p.stderr.close()


def test_serve(build, tiny, tmp_path, unsanitized):
    wrong = serve(build, tiny, f"count:{tmp_path}/n")
    assert wrong is None, wrong
    n = counts(tmp_path / "n")
    jobs = [(kind, k) for kind in KINDS for k in points(n[kind], 36 if kind == "malloc" else 16)]
    with cf.ThreadPoolExecutor(4) as ex:
        bad = [f"{kind} {k}: {w}" for (kind, k), w in zip(jobs, ex.map(lambda j: serve(build, tiny, f"fail:{j[0]}:{j[1]}"), jobs)) if w]
    print(f"{n} calls, {len(jobs)} refused")
    assert not bad, "\n".join(bad)


def cpu(pid):
    f = open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()
    return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")


def test_descriptors_used_up_by_others(build, tiny, unsanitized):
    """Three clients are in, and every further accept fails (each took one call, and one that said there are no more): no busy
    loop, idle ones make room but for the last, which is served, and the end is orderly."""
    p = subprocess.Popen([build / "rocmforge", "serve", tiny, "--port", "0", "--threads", "1"], env=environment(build, "fail:accept:7+"), stdin=subprocess.DEVNULL,
                         stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    late, inside = [], []
    try:
        port = int(re.search(r"http://\S+?:(\d+)", p.stdout.readline()).group(1))
        inside = [http.client.HTTPConnection("127.0.0.1", port, timeout=20) for _ in range(3)]
        for c in inside:
            while True:
                c.request("GET", "/health")
                if c.getresponse().read() and c.sock:
                    break
            time.sleep(0.02)  # idle since a later millisecond than the one before: among equals any may go
        for _ in range(20):
            late.append(socket.create_connection(("127.0.0.1", port)))
        before = cpu(p.pid)
        time.sleep(3)
        assert cpu(p.pid) - before < 0.2
        inside[2].auto_open = 0
        inside[2].request("POST", "/v1/completions", json.dumps({"prompt": [20, 21], "max_tokens": 2}), {"content-type": "application/json"})
        assert inside[2].getresponse().status == 200
        p.send_signal(signal.SIGTERM)
        assert p.wait(30) == OK
    finally:
        for c in late + inside:
            c.close()
        if p.poll() is None:
            p.kill()
            p.wait()
        p.stdout.close()
