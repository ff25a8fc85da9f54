"""Trained models on real text against the truth (their weights in float32) and against llama.cpp's distance from it.

References: data/real-*.json, made by make_real_refs.py. Skipped where the models are not there.
"""
import json
import os
import re
import subprocess
import time

import numpy as np
import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
NAMES = ["qwen2.5-coder-0.5b", "gemma-3-270m"]
CLEAR = 0.5  # nats between the best token and the next: above any 8-bit noise (llama.cpp's own largest is near it)
pytestmark = pytest.mark.slow


def reference(name):
    return json.load(open(os.path.join(HERE, "data", f"real-{name}.json")))


@pytest.fixture(scope="module")
def forced(build, models):
    """name -> answers to the ten texts, all at once"""
    cache = {}

    def get(name, *options):
        if (name, *options) not in cache:
            text = "\n".join(" ".join(map(str, [0, 1, *p["ids"]])) for p in reference(name)["prompts"])
            done = subprocess.run([build / "tests/golden/golden_probe", models(name), "max_model_len=512", *options], input=text,
                                  capture_output=True, text=True, timeout=600)
            assert done.returncode == 0, done.stderr[-2000:]
            cache[name, *options] = [json.loads(line) for line in done.stdout.splitlines()[:-1]]
        return cache[name, *options]
    return get


@pytest.mark.parametrize("name", NAMES)
def test_log_probabilities_nearer_than_llama_cpp(name, forced):
    ref = reference(name)
    got = np.concatenate([a["prompt"] for a in forced(name)])
    want, peer = (np.concatenate([p[k] for p in ref["prompts"]]) for k in ("f32", "peer"))
    ours, theirs = np.abs(got - want), np.abs(peer - want)
    print(f"{name}: {len(want)} tokens; ours mean {ours.mean():.5f} max {ours.max():.4f}; "
          f"llama.cpp mean {theirs.mean():.5f} max {theirs.max():.4f}")
    assert len(got) == len(want) == 1000
    assert ours.mean() <= theirs.mean()


@pytest.mark.parametrize("name", NAMES)
def test_precise_is_ten_times_nearer(name, forced):
    ref = reference(name)
    got = np.concatenate([a["prompt"] for a in forced(name, "precise=1")])
    want, peer = (np.concatenate([p[k] for p in ref["prompts"]]) for k in ("f32", "peer"))
    print(f"{name}: precise mean {np.abs(got - want).mean():.5f} max {np.abs(got - want).max():.4f}")
    assert np.abs(got - want).mean() <= np.abs(peer - want).mean() / 10


@pytest.mark.parametrize("name", NAMES)
def test_clear_best_tokens(name, forced):
    wrong = clear = 0
    for p, a in zip(reference(name)["prompts"], forced(name)):
        for best, margin, top in zip(p["best"], p["margin"], a["top"]):
            if margin >= CLEAR:
                clear += 1
                wrong += top[0][0] != best
    print(f"{name}: {clear} of 1000 tokens have a clear best, {wrong} of them differ")
    assert clear > 500 and wrong == 0


@pytest.mark.parametrize("name", NAMES if os.environ.get("RF_TEST_LONG") else NAMES[1:])  # the one that is nearer to its bound
def test_perplexity(name, build, models):
    ref = reference(name)["perplexity"]
    done = subprocess.run([build / "rocmforge", "perplexity", models(name), os.path.join(HERE, "text", ref["text"]), "--ctx",
                           str(ref["ctx"]), "--json"], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    got = json.loads(done.stdout)
    print(f"{name}: ours {got['perplexity']:.4f}, float32 {ref['f32']:.4f}, llama.cpp {ref['peer']:.4f}")
    assert got["tokens"] == ref["tokens"]
    assert got["perplexity"] == pytest.approx(ref["f32"], rel=0.003)


def test_writes_a_c_function(build, models):
    start = time.perf_counter()
    p = subprocess.Popen([build / "rocmforge", "run", models("qwen2.5-coder-0.5b"), "--temperature", "0", "--max-tokens", "400",
                          "Write a C function that returns the length of a linked list."], stdout=subprocess.PIPE,
                         stderr=subprocess.PIPE)
    first = p.stdout.read(1)
    print(f"first character {time.perf_counter() - start:.2f} s after the start of the process")
    text = (first + p.stdout.read()).decode()
    assert p.wait() == 0
    print(text)
    code = re.search(r"```c\n(.*?)```", text, re.S)
    assert code and re.search(r"while\s*\(|for\s*\(", code.group(1)) and "->next" in code.group(1)
