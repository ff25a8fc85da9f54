"""A model's file that is cut off, overwritten or replaced while it is being loaded or used."""
import json
import os
import re
import signal
import subprocess
import threading

import fixtures as F
import pytest
import requests

MODEL = 3
PROMPT = list(range(20, 60))


class Server:
    def __init__(self, build, *args, env=None):
        self.p = subprocess.Popen([build / "rocmforge", "serve", *map(str, args), "--port", "0", "--threads", "1"], stdout=subprocess.PIPE,
                                  stderr=subprocess.PIPE, text=True, errors="replace", env={**os.environ, **(env or {})})
        self.err = []
        self.reader = threading.Thread(target=lambda: self.err.extend(self.p.stderr), daemon=True)
        self.reader.start()
        line = self.p.stdout.readline()
        self.url = re.search(r"http://\S+?:\d+", line).group(0)

    def body(self, **kw):
        return {"prompt": PROMPT, "temperature": 0, "max_tokens": 24, "ignore_eos": True, **kw}

    def complete(self, **kw):
        return requests.post(self.url + "/v1/completions", json=self.body(**kw), timeout=60, stream=kw.get("stream", False))

    def stop(self):
        self.p.send_signal(signal.SIGTERM)
        code = self.p.wait(60)
        self.reader.join(60)
        text = "".join(self.err)
        assert "Sanitizer" not in text and "runtime error" not in text, text[-4000:]
        return code


@pytest.fixture
def path(tmp_path):
    p = tmp_path / "victim.gguf"
    F.write_gguf(F.VARIANTS[0], str(p), "F32")
    return p


def text(r):
    return r.json()["choices"][0]["text"]


def refused(r):
    e = r.json()["error"]
    return r.status_code == 500 and e["code"] == "io_error" and "victim.gguf" in e["message"] and "changed" in e["message"]


def cut(path):
    os.truncate(path, 4096)


def overwrite(path):
    with open(path, "r+b") as f:
        f.seek(path.stat().st_size // 2)
        f.write(b"\xff" * 4096)


@pytest.mark.parametrize("harm", [cut, overwrite])
def test_while_decoding(build, path, harm):
    """The stream under way ends with an error event, all further requests with an error; the server stays."""
    s = Server(build, path)
    try:
        assert s.complete().status_code == 200
        got = []
        for line in s.complete(stream=True, max_tokens=400, n=32).iter_lines():
            got.append(line.decode())
            if len(got) == 2:
                harm(path)
        frames = [json.loads(x[6:]) for x in got if x.startswith("data: {")]
        assert frames[-1]["error"]["code"] == "io_error" and "data: [DONE]" not in got, got[-3:]
        assert all("choices" in f for f in frames[:-1])
        for stream in (False, True):
            assert refused(s.complete(stream=stream))
        health = requests.get(s.url + "/health")  # so that a supervisor starts it anew
        assert health.status_code == 503 and health.json()["error"]["code"] == "model_lost"
        assert s.p.poll() is None and requests.get(s.url + "/version").status_code == 200
        assert requests.get(s.url + "/metrics").status_code == 200
    finally:
        assert s.stop() == 0, s.err


def test_replaced_by_renaming(build, path, tmp_path):
    """The old file lives on in the mapping."""
    s = Server(build, path)
    try:
        before = text(s.complete())
        other = tmp_path / "other.gguf"
        F.write_gguf(F.VARIANTS[1], str(other), "F32")
        os.rename(other, path)
        assert text(s.complete()) == before
        os.unlink(path)
        assert text(s.complete()) == before
    finally:
        assert s.stop() == 0, s.err


def test_while_idle(build, path):
    s = Server(build, path)
    try:
        before = text(s.complete())
        overwrite(path)
        assert refused(s.complete()) and before
    finally:
        assert s.stop() == 0, s.err


@pytest.mark.parametrize("step", [1, 2, 5, 9, 14])
def test_while_loading(build, path, step):
    """faults.so cuts the file when the loader gives back the pages of its step-th tensor: the next ones are gone."""
    if b"__asan_init" in (build / "rocmforge").read_bytes():
        pytest.skip("the sanitizer's own runtime must be loaded first")
    env = {**os.environ, "LD_PRELOAD": str(build / "tests/fault/libfaults.so"), "RF_FAULT": f"cut:{step}:{path}"}
    done = subprocess.run([build / "rocmforge", "run", path, "hi", "--max-tokens", "2", "--threads", "1"], env=env, capture_output=True, text=True, timeout=60)
    assert path.stat().st_size == 0, "the fault was never reached"
    assert done.returncode == MODEL and done.stdout == "", done
    assert re.fullmatch(r"rocmforge: .*victim\.gguf: the file was changed or cut off while in use; .*\n", done.stderr), done.stderr
