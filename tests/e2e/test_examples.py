"""Each file of examples/ as its first lines say to run it, against a tiny model: what it prints is what the program prints."""
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from program import TEMPLATE, Program

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples"
SANITIZED = bool(os.environ.get("RF_TEST_SANITIZED"))


@pytest.fixture(scope="module")
def program(build, tmp_path_factory):
    return Program(build, tmp_path_factory.mktemp("examples"))


@pytest.fixture(scope="module")
def library(build):
    """Folder of librocmforge.so. It is not built together with the program alone."""
    found = sorted((build / "src/engine").glob("librocmforge.so"))
    assert found, "build src/engine/librocmforge.so first"
    return found[0].parent


@pytest.fixture(scope="module")
def server(program):
    s = program.serve("rocmforge-demo", "--chat-template", TEMPLATE)
    yield s
    assert s.stop() == 0


def run(program, *args, **env):
    done = subprocess.run([str(a) for a in args], capture_output=True, timeout=120, cwd=program.cwd, env=program.env(**env))
    assert done.returncode == 0, done.stderr[-2000:]
    return done.stdout.decode(errors="replace")


def model(program):
    return str(program.root / "share/rocmforge/rocmforge-demo.gguf")


@pytest.mark.skipif(SANITIZED, reason="a plain program cannot load a sanitized library")
def test_c(program, library, tmp_path):
    header = EXAMPLES.parent / "include"
    assert len((EXAMPLES / "chat.c").read_text().splitlines()) <= 45
    cc = shutil.which("cc") or shutil.which("clang")
    subprocess.run([cc, "-std=c99", "-Wall", "-Wextra", "-Werror", "-pedantic", EXAMPLES / "chat.c", f"-I{header}", f"-L{library}", "-lrocmforge", "-o",
                    tmp_path / "chat"], check=True)
    out = run(program, tmp_path / "chat", model(program), "int main", LD_LIBRARY_PATH=str(library))
    want = program.run("run", "rocmforge-demo", "int main", "--raw", "-t", "0", "-n", "200")[0]
    assert out.rstrip("\n") == want.rstrip("\n") and out.strip()
    none = subprocess.run([tmp_path / "chat", "nowhere.gguf", "x"], capture_output=True, text=True, env=program.env(LD_LIBRARY_PATH=str(library)))
    assert none.returncode == 1 and "nowhere.gguf" in none.stderr


@pytest.mark.skipif(SANITIZED, reason="a plain program cannot load a sanitized library")
def test_ctypes(program, library):
    out = run(program, sys.executable, EXAMPLES / "chat_ctypes.py", model(program), "int main", ROCMFORGE_LIB=str(library / "librocmforge.so"))
    want = program.run("run", "rocmforge-demo", "int main", "--raw", "-t", "0", "-n", "32")[0]
    assert out.rstrip("\n") == want.rstrip("\n") and out.strip()


def test_openai(program, server):
    out = run(program, sys.executable, EXAMPLES / "chat_openai.py", "int main", OPENAI_BASE_URL=server.url + "/v1")
    want = program.run("run", "rocmforge-demo", "int main", "--chat-template", TEMPLATE, "-t", "0", "-n", "200")[0]
    assert out.rstrip("\n") == want.rstrip("\n") and out.strip()


def test_curl(program, server):
    out = run(program, "sh", EXAMPLES / "chat.sh", OPENAI_BASE_URL=server.url + "/v1")
    assert '"object":"text_completion"' in out and out.rstrip().endswith("data: [DONE]") and '"delta"' in out
    asked = run(program, "sh", EXAMPLES / "chat.sh", 'int "main" \\ x', OPENAI_BASE_URL=server.url + "/v1")
    assert asked.rstrip().endswith("data: [DONE]") and re.findall('"content":"(.*?)"}', asked) != re.findall('"content":"(.*?)"}', out)
