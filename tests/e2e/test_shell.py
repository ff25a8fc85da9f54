"""What comes from the option table besides the parser: completion for three shells, manual pages; and doctor."""
import json
import pathlib
import re
import shutil
import subprocess
import sys

import pytest
from program import Program

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def program(build, tmp_path_factory):
    return Program(build, tmp_path_factory.mktemp("shell"))


@pytest.fixture(scope="module")
def commands(program):
    """{command: [its options]}, as --help prints them."""
    names = re.findall(r"^  ([a-z]+) ", program.run("--help")[0], re.M)
    assert {"run", "serve", "ps", "rm", "doctor", "config", "completion", "man"} <= set(names)
    return {n: re.findall(r"^ +(?:-[a-z], )? *(--[a-z-]+)", program.run(n, "--help")[0], re.M) for n in names}


def bash(program, line):
    """What bash would offer behind `line`."""
    words = line.split(" ")
    script = f'source <({program.exe} completion bash); PATH={program.exe.parent}:$PATH; COMP_WORDS=({" ".join(repr(w) for w in words)}); ' \
             f'COMP_CWORD={len(words) - 1}; _rocmforge; printf "%s\\n" "${{COMPREPLY[@]}}"'
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, cwd=program.cwd, env=program.env(), timeout=60)
    assert done.stderr == "", done.stderr
    return done.stdout.split("\n")[:-1]


def test_bash_completes(program, commands):
    assert bash(program, "rocmforge se") == ["serve"] and set(bash(program, "rocmforge ")) >= set(commands)
    for command, options in commands.items():
        assert set(bash(program, f"rocmforge {command} --")) == set(options), command
    assert bash(program, "rocmforge serve --log-level ") == ["error", "warn", "info", "debug"]
    assert "rocmforge-demo" in bash(program, "rocmforge run rocm") and bash(program, "rocmforge completion z") == ["zsh"]
    assert bash(program, "rocmforge config ser") == ["serve"]


HOSTILE = "m$(touch harm)`touch harm`; touch harm *"


def test_names_of_files_are_not_run(program, tmp_path):
    """A name is what a stranger called a file: no shell may expand it."""
    models = program.home / "models"
    models.mkdir()
    (models / f"{HOSTILE}.gguf").symlink_to(program.root / "share/rocmforge/rocmforge-demo.gguf")
    try:
        name = json.loads(program.run("list", "--json")[0])["models"][0]["name"]
        assert name == HOSTILE and name in bash(program, "rocmforge run m") and not list(program.cwd.iterdir())
        if shutil.which("fish"):
            script = f"set -x PATH {program.exe.parent} $PATH; {program.exe} completion fish | source; complete -C 'rocmforge run m'"
            done = subprocess.run(["fish", "-N", "-c", script], capture_output=True, text=True, cwd=program.cwd, env=program.env(), timeout=60)
            assert name in done.stdout and not list(program.cwd.iterdir()), (done.stdout, done.stderr)
    finally:
        shutil.rmtree(models)


@pytest.mark.skipif(not shutil.which("fish"), reason="no fish")
def test_fish_completes(program, commands):
    def offers(line):
        script = f"set -x PATH {program.exe.parent} $PATH; {program.exe} completion fish | source; complete -C '{line}'"
        done = subprocess.run(["fish", "-N", "-c", script], capture_output=True, text=True, cwd=program.cwd, env=program.env(), timeout=60)
        assert done.returncode == 0, done.stderr
        return [x.split("\t")[0] for x in done.stdout.splitlines()]
    assert set(offers("rocmforge ")) >= set(commands) and "rocmforge-demo" in offers("rocmforge run rocm")
    assert set(offers("rocmforge serve --")) >= set(commands["serve"]) and {"error", "warn", "info", "debug"} <= set(offers("rocmforge serve --log-level "))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_scripts_name_every_option_and_parse(program, commands, shell, tmp_path):
    script = program.run("completion", shell)[0]
    for command, options in commands.items():
        assert re.search(rf"\b{command}\b", script)
        for o in options:
            assert (f"-l {o[2:]}" if shell == "fish" else o) in script, (command, o)
    (tmp_path / "script").write_text(script)
    if shutil.which(shell):
        done = subprocess.run([shell, "-n", tmp_path / "script"], capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr
    assert "none of bash" in program.run("completion", "tcsh", code=2)[1]


def test_manual_pages_say_what_help_says(program, commands):
    for command, options in commands.items():
        page = program.run("man", command)[0]
        assert page.startswith(".TH") and ".SH EXAMPLES" in page and ".SH EXIT STATUS" in page
        plain = page.replace("\\-", "-")
        for o in options:
            assert f"\\fB{o}\\fR" in plain, (command, o)
        check_page(page)
    overview = program.run("man")[0]
    assert all(f"rocmforge\\-{c}" in overview for c in commands)
    check_page(overview)
    assert "no command" in program.run("man", "nothing", code=2)[1]


def check_page(page):
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww", "-z"], input=page, capture_output=True, text=True)
        assert done.returncode == 0 and done.stderr == "", done.stderr


def test_doctor(program):
    d = json.loads(program.run("doctor", "--json", "--threads", 1)[0])
    cpu = d["cpu"]
    assert cpu["name"] and cpu["instructions"] and cpu["threads"] == 1 and cpu["usable_cores"] >= 1
    assert cpu["read_gb_per_s"] > 0.05 and 0 < cpu["memory_free"] <= cpu["memory_total"]
    assert {g["device"] for g in d["gpus"]} >= {"cuda:0", "hip:0"} and all(g["usable"] or g["reason"] for g in d["gpus"])
    assert d["limits"]["open_files"] > 0 and d["models"]["chat"] == 1 and d["models"]["shipped"].endswith("rocmforge-demo.gguf")
    text, _ = program.run("doctor", "--threads", 1)
    for word in ("CPU", "memory", "GB/s", "GPU", "kernels", "limits", "models"):
        assert word in text
    assert "\x1b" not in text


def test_help_of_help(program):
    assert program.run("help", "run")[0] == program.run("run", "--help")[0]
    assert program.run("help")[0] == program.run("--help")[0]
    assert "unknown command" in program.run("help", "rnu", code=2)[1]


def test_pages_of_the_documentation_are_current(program):
    done = subprocess.run([sys.executable, ROOT / "scripts/command_pages.py", "--check", program.exe], capture_output=True, text=True, env=program.env())
    assert done.returncode == 0, done.stdout + "run: scripts/command_pages.py"
