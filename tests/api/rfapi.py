"""What the API tests share: the server's binary, and a strict reader of server-sent events."""
import functools
import json
import os
import pathlib
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60  # seconds for what must happen, but need not happen fast: the machine may be slow and busy


def binary():
    if path := os.environ.get("RF_FAKE_SERVER"):
        assert os.path.exists(path), path
        return path
    for path in sorted(ROOT.glob("build*/tests/unit/serve/fake_server")):
        return str(path)
    pytest.exit("fake_server is not built: ninja -C build tests/unit/serve/fake_server", returncode=2)


@functools.cache
def slow_factor():
    """Limits of time and memory mean little under a sanitizer."""
    if os.environ.get("RF_BASE_URL"):
        return 1
    data = pathlib.Path(binary()).read_bytes()
    return 10 if b"__asan_init" in data or b"__tsan_init" in data else 1


def until(what, seconds=PATIENCE):
    """Asks again and again; true as soon as `what()` is."""
    end = time.monotonic() + seconds
    while not what():
        if time.monotonic() > end:
            return False
        time.sleep(0.01)
    return True


def frames(text):
    """Server-sent events, strictly: every frame is one data line and a blank line, or one comment and a blank line."""
    assert text.endswith("\n\n"), text[-100:]
    out = []
    for part in text[:-2].split("\n\n"):
        assert "\n" not in part and "\r" not in part, part
        if part.startswith(":"):
            continue
        assert part.startswith("data: "), part
        out.append(part[6:])
    return out


def events(text):
    f = frames(text)
    assert f[-1] == "[DONE]" and "[DONE]" not in f[:-1]
    return [json.loads(x) for x in f[:-1]]
