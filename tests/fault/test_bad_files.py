"""Every bad file through the program: exit code, one clear line, little time and memory, nothing for a sanitizer to say."""
import json
import pathlib
import subprocess
import sys

import bad_files
import pytest

OK, FAILED, MODEL = 0, 1, 3
SECONDS, MEGABYTES = 0.1, 50


@pytest.fixture(scope="module")
def run(build):
    """run(args...) -> (exit code, stdout, stderr as bytes, processor seconds, peak MB)"""
    p = subprocess.Popen([sys.executable, "-S", pathlib.Path(__file__).with_name("launch.py")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def one(*args):
        p.stdin.write(json.dumps({"args": [str(build / "rocmforge"), *map(str, args)]}) + "\n")
        p.stdin.flush()
        r = json.loads(p.stdout.readline())
        return r["code"], r["out"].encode("latin-1"), r["err"].encode("latin-1"), r["cpu"], r["mb"]

    yield one
    p.stdin.close()
    assert p.wait(10) == 0


@pytest.fixture(scope="module")
def sanitized(build):
    return b"__asan_init" in (build / "rocmforge").read_bytes()


@pytest.fixture(scope="module")
def by_group(tmp_path_factory):
    def make(group):
        m = bad_files.Maker(tmp_path_factory.mktemp(group))
        getattr(bad_files, group)(m)
        return m
    return make


@pytest.mark.parametrize("group", ["headers", "shapes", "keys", "folders", "special"])
def test_refused(run, by_group, sanitized, group):
    """A file that a bent key left usable may run; any other exit than 0 or 3 is a crash or a misunderstanding."""
    m, wrong, worst, used = by_group(group), [], (0, ""), 0
    files = m.files[::5] if sanitized else m.files
    for name, path, says in files:
        code, out, err, cpu, mb = run("run", path, "hi", "--max-tokens", "1", "--temperature", "0", "--threads", "1")
        text = err.decode()  # strictly: a message is UTF-8 whatever the file holds
        used += code == OK
        if code == OK:
            assert says == "", f"{name}: was opened, expected a line with {says!r}"
            continue
        worst = max(worst, (cpu, name))
        line = text.splitlines()[0] if text else ""
        if code not in (MODEL, FAILED):
            wrong.append(f"{name}: exit {code}: {text[-2000:]}")
        elif text.count("\n") != (2 if "no such file" in text else 1) or out or not line.startswith("rocmforge: ") or says not in line or len(line) > 700 or "\x1b" in line:
            wrong.append(f"{name}: {text!r}")
        elif not sanitized and (cpu > SECONDS or mb > MEGABYTES):
            wrong.append(f"{name}: {cpu:.3f} s, {mb:.0f} MB: {line}")
        elif code == FAILED and group != "keys":
            wrong.append(f"{name}: loaded, and failed only then: {line}")
    print(f"{group}: {len(files)} files, {used} usable, slowest refusal {worst[0]:.3f} s ({worst[1]})")
    assert not wrong, "\n".join(wrong[:20]) + f"\n{len(wrong)} in all"


def test_good_file_runs(run, by_group):
    m = by_group("special")
    for path in (m.good, m.folder):
        assert run("run", path, "hi", "--max-tokens", "1")[0] == OK


@pytest.mark.parametrize("command", ["show", "tokenize", "bench", "perplexity", "serve"])
def test_other_commands(run, by_group, command):
    """The same refusal from every command that opens a model; `serve` also ends, and leaves its port."""
    m = by_group("headers")
    extra = {"tokenize": ["hi"], "perplexity": [m.good], "serve": ["--port", "0"]}.get(command, [])
    for name, path, _ in m.files[::9]:
        code, _, err, _, _ = run(command, path, *extra)
        assert code in (OK, MODEL) if command == "show" else code == MODEL, (name, code, err)
        assert b"Sanitizer" not in err
