"""The tiny models on emulated GPUs: the whole engine through the driver libraries' names, warp 32 as cuda:0, warp 64 as hip:0.

Greedy text must be the expected one (transformers', which the CPU gives too), logits as near as the CPU's. A prompt's products take
activations rounded to bf16 (8 bits), in all products alike: nearer than the CPU's int8 for quantised types, farther than its f32 for F16.
"""
import json
import os
import subprocess

import fixtures as F
import numpy as np
import pytest
from test_golden import CASES, FAMILIES, TOLERANCE, log_softmax, rows

DEVICES = ["cuda:0", "hip:0"]
# Every family once, every type once: each takes seconds on emulated threads.
FAMILY = {c[0].split("-")[0]: c for c in reversed(FAMILIES)}
PAIRS = [(c, DEVICES[i % 2]) for i, c in enumerate(FAMILY[k] for k in ("llama", "qwen2", "qwen3", "mistral_window", "gemma3"))]
NEAR = {**TOLERANCE, "F16": 0.08, "BF16": 0.15}
OTHERS = list({c[2]: c for c in CASES if c[2] != "F32"}.values())


@pytest.fixture(scope="module")
def gpu_probe(build, emulator, tmp_path_factory):
    root = tmp_path_factory.mktemp("gpu_golden")
    F.write_all(str(root))

    def run(path, groups, hopper=False, **options):
        text = "\n\n".join("\n".join(" ".join(map(str, [n, top, *ids])) for n, top, ids in g) for g in groups) + "\n"
        args = [f"{k}={v}" for k, v in options.items()]
        done = subprocess.run([build / "tests/golden/golden_probe", root / path, *args], input=text, capture_output=True, text=True,
                              timeout=300, env={**os.environ, "LD_LIBRARY_PATH": str(emulator), **({"RF_EMU_HOPPER": "1"} if hopper else {})})
        assert done.returncode == 0, done.stderr[-3000:]
        lines = [json.loads(line) for line in done.stdout.splitlines()]
        return lines[:-1], lines[-1]["stats"]
    return run


@pytest.mark.slow
@pytest.mark.parametrize("case,device", PAIRS, ids=[c[0] + "-" + d for c, d in PAIRS])
def test_greedy(case, device, gpu_probe):
    _, v, t, path = case
    ragged = F.expected(v, t)["ragged"][:2]
    together = [(len(r["greedy"]), -1, r["prompt"]) for r in ragged]
    answers, stats = gpu_probe(path, [together], device=device, kv_blocks=256)
    assert [a["tokens"] for a in answers] == [r["greedy"] for r in ragged]
    assert stats["free"] == stats["blocks"]


@pytest.mark.slow
@pytest.mark.parametrize("case", FAMILY.values(), ids=FAMILY)
def test_alone(case, gpu_probe):
    """Steps of one row have a layout of their own, where norms, sums and activations are part of products."""
    _, v, t, path = case
    e = F.expected(v, t)["ragged"][0]
    answers, _ = gpu_probe(path, [[(len(e["greedy"]), -1, e["prompt"])]], device="cuda:0", kv_blocks=256)
    assert answers[0]["tokens"] == e["greedy"]


@pytest.mark.slow
@pytest.mark.parametrize("way,device", [("reference", "cuda:0"), ("flash", "cuda:0"), ("paged-split", "hip:0")])
def test_ways_to_attend(way, device, gpu_probe):
    """Each way for all rows gives the text, also past the step at which steps are repeated from a recording."""
    _, v, t, path = next(c for c in FAMILIES if c[0].startswith("llama-"))
    e = F.expected(v, t)["ragged"][0]
    answers, _ = gpu_probe(path, [[(len(e["greedy"]), -1, e["prompt"])]], device=device, kv_blocks=256, attention=way, kv_type="f16")
    assert answers[0]["tokens"] == e["greedy"]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES[:1])
@pytest.mark.parametrize("case", OTHERS, ids=[c[0] for c in OTHERS])
def test_logits_of_every_type(case, device, gpu_probe):
    name, v, t, path = case
    e = F.expected(v, t)
    answers, _ = gpu_probe(path, [[(1, F.VOCAB, e["prompt"])]], device=device, kv_blocks=256)
    got, want = rows(answers[0])[e["positions"]], log_softmax(e["logits"])
    assert not np.isnan(got).any()
    assert np.abs(got - want).max() <= NEAR[t]


@pytest.mark.slow
@pytest.mark.parametrize("case", OTHERS, ids=[c[0] for c in OTHERS])
def test_many_rows_on_hopper(case, gpu_probe):
    """Steps of more than 64 rows have a form of their own there, but for F32: norms and activations are part of products, rows between them bf16 tiles."""
    _, v, t, path = case
    prompt = (F.expected(v, t)["prompt"] * 8)[:140]
    got, want = (gpu_probe(path, [[(8, -1, prompt)], [(2, F.VOCAB, prompt)]], device=device, hopper=True, kv_blocks=256, no_prefix_cache=1)[0] for device in ("cuda:0", "cpu"))
    assert len(got[0]["tokens"]) == len(want[0]["tokens"])
    assert np.abs(rows(got[1])[:139] - rows(want[1])[:139]).max() <= 2 * NEAR[t]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES[1:])
def test_chunked(device, gpu_probe):
    """Equal bits: a prompt in pieces gives the same logits."""
    _, v, t, path = next(c for c in FAMILIES if c[0].startswith("qwen2-"))
    e = F.expected(v, t)
    request = [[(2, F.VOCAB, e["prompt"])]]
    whole = gpu_probe(path, request, device=device, kv_blocks=256, no_prefix_cache=1)[0][0]
    part = gpu_probe(path, request, device=device, kv_blocks=256, no_prefix_cache=1, max_step_tokens=17)[0][0]
    assert part == whole


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES[:1])
def test_logprobs(device, gpu_probe):
    """The few best come from the device, all of them from the host: the same tokens, the same numbers but for rounding."""
    _, v, t, path = next(c for c in FAMILIES if c[0].startswith("llama-"))
    e = F.expected(v, t)
    few, every = (gpu_probe(path, [[(6, top, e["prompt"])]], device=device, kv_blocks=256)[0][0] for top in (4, F.VOCAB))
    assert few["tokens"] == every["tokens"] and len(few["top"]) == len(every["top"])
    assert np.abs(np.array(few["logprob"]) - np.array(every["logprob"])).max() <= 2e-5
    for a, b in zip(few["top"], every["top"]):
        assert [i for i, _ in a] == [i for i, _ in b[:4]]
        assert max(abs(x - y) for (_, x), (_, y) in zip(a, b)) <= 2e-5


@pytest.fixture(scope="module")
def gpu_life(build, emulator, tmp_path_factory):
    root = tmp_path_factory.mktemp("gpu_life")
    for case, v, t, _ in F.cases():
        if case == "llama-Q8_0-gguf":
            F.write_case(case, v, t, str(root / "model.gguf"))

    def run(*args):
        done = subprocess.run([build / "tests/golden/gpu_life", root / "model.gguf", *map(str, args)], capture_output=True, text=True, timeout=600,
                              env={**os.environ, "LD_LIBRARY_PATH": str(emulator)})
        assert done.returncode == 0, done.stderr[-3000:]
        print(done.stdout)
        return json.loads(done.stdout)
    return run


LONG = bool(os.environ.get("RF_TEST_LONG"))


@pytest.mark.slow
@pytest.mark.parametrize("device,precise", [(DEVICES[0], 0), (DEVICES[1], 1)] if LONG else [(DEVICES[0], 0)])
def test_lent_memory(device, precise, gpu_probe):
    """Equal bits: a step of 2,048 tokens has room where up was for the inputs of down's product, one of 300 has not; and what the CPU gives, about."""
    _, v, t, path = next(c for c in CASES if c[0] == "qwen2-Q8_0-gguf")
    prompt = (F.expected(v, t)["prompt"] * 40)[:300]
    requests = [[(16, -1, prompt)], [(2, F.VOCAB, prompt)]]  # the prompt as one step, and in two as long as all its logits are wanted
    (lent, own), want = ([gpu_probe(path, requests, device=device, max_step_tokens=n, kv_blocks=256, no_prefix_cache=1, precise=precise)[0] for n in (2048, 300)],
                         gpu_probe(path, requests, device="cpu", no_prefix_cache=1, precise=precise)[0])
    assert lent == own and len(lent[0]["tokens"]) == 16
    assert np.abs(rows(lent[1])[:299] - rows(want[1])[:299]).max() <= 2 * NEAR[t]
    assert not precise or lent[0]["tokens"] == want[0]["tokens"]


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES if LONG else DEVICES[:1])
def test_every_driver_call_of_a_life_fails_once(device, gpu_life):
    """Opening, loading, one request, closing: whichever call fails, the error names it and every block comes back."""
    got = gpu_life(device, "faults")
    assert got["calls"] == got["open"] + got["create"] + got["request"] + 1
    assert min(got["open"], got["create"], got["request"]) > 10


@pytest.mark.slow
@pytest.mark.parametrize("device", DEVICES if LONG else DEVICES[1:])
def test_mixed_load_leaves_every_block_free(device, gpu_life):
    """2,000 requests on two devices (RF_TEST_LONG; else 200 on one), a third of them cancelled at some time."""
    n = 1000 if LONG else 200
    got = gpu_life(device, "load", n, 1)
    assert got["requests"] == n == got["stop"] + got["length"] + got["abort"] and not got["error"]
    assert got["abort"] > n / 10 and got["length"] > n / 2 and got["tokens"] > n
    assert got["free"] == got["blocks"]
