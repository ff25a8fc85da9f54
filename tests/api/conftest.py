"""The API tests run against the fake server (tests/api/fake_server.c), or, with RF_BASE_URL, against a running one.

Tests marked `fake` need the fake engine's steering words and are skipped against a real server. The binary is found
through RF_FAKE_SERVER or in the usual build folders.
"""
import os
import pathlib
import re
import signal
import socket
import subprocess

import pytest
import requests

from rfapi import PATIENCE, binary, until

REAL = os.environ.get("RF_BASE_URL")


def pytest_configure(config):
    config.addinivalue_line("markers", "fake: needs the fake engine")


def pytest_collection_modifyitems(items):
    for item in items:
        if REAL and "fake" in item.keywords:
            item.add_marker(pytest.mark.skip(reason="needs the fake engine"))


class Server:
    """One server process on a free port of 127.0.0.1, stopped by its own process id."""

    def __init__(self, *args, ready=True, preexec_fn=None, path=None):
        self.proc = subprocess.Popen([path or binary(), *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                     text=True, preexec_fn=preexec_fn)
        self.url = self.proc.stdout.readline().strip()
        assert self.url, self.proc.stderr.read()
        self.port = int(self.url.rsplit(":", 1)[1])
        self.model = "fake"
        print("server", self.url)
        assert not ready or until(lambda: requests.get(self.url + "/health").status_code == 200), "not ready in time"

    def stop(self, sig=signal.SIGTERM, timeout=PATIENCE):
        if self.proc.poll() is None:
            self.proc.send_signal(sig)
        try:
            code = self.proc.wait(timeout)
        except subprocess.TimeoutExpired:
            self.proc.kill()
            self.proc.wait()
            raise
        self.err = self.proc.stderr.read()
        return code

    def rss_kb(self):
        return int(re.search(r"VmRSS:\s+(\d+)", pathlib.Path(f"/proc/{self.proc.pid}/status").read_text())[1])

    def cpu_s(self):
        f = pathlib.Path(f"/proc/{self.proc.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(f[11]) + int(f[12])) / os.sysconf("SC_CLK_TCK")

    def post(self, path, body, **kw):
        return requests.post(self.url + path, json=body, **kw)

    def chat(self, text, **kw):
        return self.post("/v1/chat/completions", {"model": self.model, "messages": [{"role": "user", "content": text}], **kw})

    def complete(self, prompt, **kw):
        return self.post("/v1/completions", {"model": self.model, "prompt": prompt, **kw})

    def metric(self, name):
        for line in requests.get(self.url + "/metrics").text.splitlines():
            if line.split("{")[0].split(" ")[0] == name:
                return float(line.rsplit(" ", 1)[1])
        raise KeyError(name)

    def running(self):
        return self.metric("vllm:num_requests_running") + self.metric("vllm:num_requests_waiting")

    def wait_idle(self):
        return until(lambda: self.running() == 0)

    def connect(self, timeout=PATIENCE):
        return socket.create_connection(("127.0.0.1", self.port), timeout=timeout)


class RealServer(Server):
    def __init__(self):
        self.url = REAL.rstrip("/")
        self.port = int(re.search(r":(\d+)$", self.url)[1])
        self.model = requests.get(self.url + "/v1/models").json()["data"][0]["id"]
        self.proc = None


@pytest.fixture(scope="session")
def shared():
    if REAL:
        yield RealServer()
        return
    s = Server("--ping", 1, "--alias", "org/other-name")
    yield s
    assert s.stop() == 0, s.err
    assert "Sanitizer" not in s.err, s.err


@pytest.fixture
def server(shared):
    yield shared
    if shared.proc:
        assert shared.proc.poll() is None, "the server died"


@pytest.fixture
def launch():
    made = []

    def make(*args, **kw):
        made.append(Server(*args, **kw))
        return made[-1]

    yield make
    for s in made:
        if s.proc.poll() is None:
            assert s.stop() == 0
            assert "Sanitizer" not in s.err, s.err
