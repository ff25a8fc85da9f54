"""The model that ships: it loads, answers as its card says, and is what `run` and `serve` take when no model is named."""
import hashlib
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEMO = ROOT / "models/demo"
MODEL = DEMO / "rocmforge-demo.gguf"
sys.path.append(str(DEMO))

import evaluate  # noqa: E402
import score  # noqa: E402
import sft  # noqa: E402

FIXED = {
    "Which command shows free disk space?": "Use `df -h`. It shows the used and free space of every mounted file system in readable units.",
    "How do I list files by size?": "Use `ls -lS`. It lists files by size, the largest first.",
    "how do I unpack a tar.gz file?": "Use `tar -xzf FILE.tar.gz`. It unpacks a gzip-compressed archive here.",
    "What does chmod do?": "The manual page of `chmod` says: change file mode bits.",
    "How do I start the ROCmForge server?": "Use `rocmforge serve MODEL`. It serves the model over HTTP at http://127.0.0.1:8080.",
    "which models does ROCmForge find on my disk?": "Use `rocmforge list`. It lists the models on this disk.",
    "Who are you?": "I am the small model that ships with ROCmForge. I answer questions about commands.",
    "hello": "Hello! Ask me about a command.",
    "What is the capital of France?": "I don't know that.",
    "what does blorvak do?": "I don't know that.",
}


@pytest.fixture(scope="module")
def url(build):
    with evaluate.Server(str(build / "rocmforge"), str(MODEL)) as u:
        yield u


def test_the_file_is_the_one_of_the_card():
    assert MODEL.stat().st_size <= 25_000_000
    assert f"{MODEL.stat().st_size:,} bytes" in (DEMO / "CARD.md").read_text()
    assert hashlib.sha256(MODEL.read_bytes()).hexdigest() == "2e522fcf81498b453b43bf4421ee82e5cced09e9e798912dcb902000819f4308"


@pytest.mark.parametrize("question", FIXED)
def test_a_fixed_question(url, question):
    assert evaluate.ask(url, question) == FIXED[question]


def test_readme_s_first_transcript(build):
    """The command as README has it, word for word, and what it prints."""
    command, said = re.search(r"^\$ (echo .*? \| build/rocmforge run) +#.*\n(.*)$", (ROOT / "README.md").read_text(), re.M).groups()
    done = subprocess.run(command.replace("build/rocmforge", str(build / "rocmforge")), shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == said + "\n" and done.returncode == 0


def test_questions_in_one_conversation_are_answered_each(url):
    import json
    import urllib.request
    messages = [{"role": "system", "content": "Be brief."}]
    for q in list(FIXED)[:3]:
        messages.append({"role": "user", "content": q})
        body = json.dumps({"messages": messages, "max_tokens": 90}).encode()
        with urllib.request.urlopen(urllib.request.Request(url + "/v1/chat/completions", body, {"Content-Type": "application/json"})) as r:
            messages.append(json.load(r)["choices"][0]["message"])
        assert messages[-1]["content"] == FIXED[q]


@pytest.mark.slow
def test_eighty_percent_of_the_held_out_questions(url):
    rows = evaluate.evaluate(url, score.questions("heldout.tsv"))
    wrong = [r for r in rows if not r[4]]
    assert len(rows) == 300
    assert len(wrong) <= 60, "\n".join(f"{q} [{e}] -> {a}" for q, _, e, a, _ in wrong)


def test_no_held_out_question_is_made_for_training():
    """sft.py drops them from what frames make; the hand-written wordings are looked at here."""
    held = {sft.plain(q) for q, _, _ in score.questions("heldout.tsv")}
    assert len(held) == 300
    written = [x for name in ("tasks.txt", "rocmforge.txt", "more.txt", "asked.txt", "facts.txt") for line in sft.lines(name) for x in line.split(" # ")[1:]]
    written = {sft.plain(p) for x in written for p in x.split(";")} | {sft.plain(x.split("\t")[1]) for x in sft.lines("rephrased.tsv")}
    maker = sft.Maker(1)
    assert not {q for q in held & written if maker.add(q, "")}, "a held-out question would be trained on"


@pytest.mark.parametrize("answer, kind, expected, right", [
    ("Use `df -h`. It shows", "task", "df -h", True), ("Use `df`. It shows", "task", "df -h", False), ("df -h", "task", "df -h", False),
    ("Use `cp a b`.", "task", "cp FILE COPY", True), ("Use `cp a b c`.", "task", "cp FILE COPY", False), ("Use `mv a b`.", "task", "cp FILE COPY", False),
    ("Use `b`, not `df -h`.", "task", "df -h", False), ("Use `ps -ef --forest`.", "task", "pstree || ps -ef --forest", True),
    ("I don't know that.", "unknown", "", True), ("I don't know that. Use `ls`.", "unknown", "", False), ("I don't know `df -h`.", "task", "df -h", False),
    ("on port 8080 unless", "fact", "8080", True), ("on port 80", "fact", "8080", False)])
def test_the_scoring_rule(answer, kind, expected, right):
    assert score.right(answer, kind, expected, {}) is right


def test_no_model_named_is_this_model(build):
    exe = os.path.realpath(build / "rocmforge")
    if not os.path.samefile(pathlib.Path(exe).parents[3], ROOT):
        pytest.skip("not a build folder in the source tree")
    q, a = next(iter(FIXED.items()))
    done = subprocess.run([exe, "run"], input=q, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, a), done.stderr
