"""Folders with F8_E4M3 weights (fp8_folders.py) give what the same weights give as F32; what does not fit together is refused by name."""
import json
import os
import subprocess

import fixtures as F
import fp8_folders as P
import numpy as np
import pytest
from test_golden import log_softmax, rows

PROMPT = F.token_ids("fp8/prompt", 40)
LONG = F.token_ids("fp8/long", 150)  # the first 128 are bulk rows where the processor has such
# A byte times its scale is one float32, so only sums are in another order; BF16 rounds it (2^-9), and AMX
# the activations to it, as it does both for prompts in bulk.
TOLERANCE, ROUNDED = 1e-3, 0.15


@pytest.fixture(scope="module")
def probe(build, tmp_path_factory):
    """probe(kind, groups, key=value...) -> what the folder and its F32 twin answer; env and device are the folder's alone."""
    root, done = tmp_path_factory.mktemp("fp8"), set()

    def run(kind, groups, env=None, device="cpu", **options):
        if kind.name not in done:
            P.write(str(root), kind)
            done.add(kind.name)
        text = "\n\n".join("\n".join(" ".join(map(str, [n, top, *ids])) for n, top, ids in g) for g in groups) + "\n"
        answers = []
        for name, dev in ((kind.name, device), (kind.name + "-plain", "cpu")):
            p = subprocess.run([build / "tests/golden/golden_probe", root / name, "kv_type=f32", f"device={dev}", *(f"{k}={v}" for k, v in options.items())],
                               input=text, capture_output=True, text=True, timeout=300, env={**os.environ, **(env or {})})
            assert p.returncode == 0, p.stderr[-3000:]
            answers.append([json.loads(line) for line in p.stdout.splitlines()[:-1]])
        return answers
    return run


def worst(pair):
    got, want = (rows(a[0]) for a in pair)
    assert not np.isnan(got).any()
    return np.abs(got - want).max()


@pytest.mark.parametrize("kind", P.KINDS, ids=lambda k: k.name)
def test_same_as_plain(kind, probe):
    pair = probe(kind, [[(24 if kind.exact else 1, F.VOCAB, PROMPT)]])
    assert worst(pair) <= (TOLERANCE if kind.exact else ROUNDED)
    assert not kind.exact or pair[0][0]["tokens"] == pair[1][0]["tokens"]


def test_scales_that_are_powers_of_two(probe):
    """Nothing is lost in BF16, where the processor does not round activations to it."""
    pair = probe(next(k for k in P.KINDS if k.name == "mx"), [[(24, F.VOCAB, PROMPT)]], isa="ref")
    assert worst(pair) <= TOLERANCE and pair[0][0]["tokens"] == pair[1][0]["tokens"]


@pytest.mark.parametrize("isa", ["ref", "avx2", "avx512", "avx512bf16"])
@pytest.mark.parametrize("kind", [k for k in P.KINDS if k.name in ("deepseek", "channel", "embedded")], ids=lambda k: k.name)
def test_weaker_instructions(kind, isa, probe):
    flag = {"ref": "", "avx2": "avx2", "avx512": "avx512f", "avx512bf16": "avx512_bf16"}[isa]
    if not os.path.exists("/proc/cpuinfo") or flag not in open("/proc/cpuinfo").read():
        pytest.skip(f"this machine has no {isa}")
    pair = probe(kind, [[(8, F.VOCAB, PROMPT)]], isa=isa)
    assert worst(pair) <= TOLERANCE and pair[0][0]["tokens"] == pair[1][0]["tokens"]


@pytest.mark.slow
def test_long_prompts(probe):
    """With and without rows in bulk; whole and in pieces, equal answers."""
    kind = next(k for k in P.KINDS if k.name == "deepseek")
    assert worst(probe(kind, [[(4, F.VOCAB, LONG)]])) <= 0.15
    whole = probe(kind, [[(8, F.VOCAB, LONG)]], no_prefix_cache=1)[0]
    assert probe(kind, [[(8, F.VOCAB, LONG)]], no_prefix_cache=1, max_step_tokens=17)[0] == whole


ON_GPU = [("deepseek", "cuda:0"), ("embedded", "cuda:0"), ("mx", "cuda:0"), ("qwen3", "hip:0"), ("modelopt", "hip:0"), ("odd", "hip:0")]


@pytest.mark.slow
@pytest.mark.parametrize("name,device", ON_GPU, ids=[n + "-" + d for n, d in ON_GPU])
def test_on_a_gpu(name, device, emulator, probe):
    """Every kind of product: 40 rows, alone and two together for the tokens behind them."""
    kind = next(k for k in P.KINDS if k.name == name)
    env = {"LD_LIBRARY_PATH": str(emulator)}
    pair = probe(kind, [[(1, F.VOCAB, PROMPT)]], env=env, device=device, kv_blocks=64)
    assert worst(pair) <= 0.15
    texts = probe(kind, [[(6, -1, PROMPT)], [(5, -1, PROMPT), (5, -1, PROMPT[:23])]], env=env, device=device, kv_blocks=64)
    assert not kind.exact or [a["tokens"] for a in texts[0]] == [a["tokens"] for a in texts[1]]


@pytest.mark.slow
def test_long_prompt_on_a_gpu(emulator, probe):
    """150 rows: weights become bf16."""
    kind = next(k for k in P.KINDS if k.name == "deepseek")
    assert worst(probe(kind, [[(1, F.VOCAB, LONG)]], env={"LD_LIBRARY_PATH": str(emulator)}, device="cuda:0", kv_blocks=64)) <= 0.15


# ---- refusals ------------------------------------------------------------------------------------------------------

K, DOWN = "model.layers.1.self_attn.k_proj.weight", "model.layers.0.mlp.down_proj.weight"


def f32(*shape, value=0.01):
    return P.Stored("F32", np.full(shape, value, np.float32))


def poke(stored, name, at, byte):
    d = bytearray(stored[name].data)
    d[at] = byte
    stored[name].data = bytes(d)


BAD = {  # what is done to the folder, and what the message says
    "transposed": (lambda s: s.update({DOWN + "_scale_inv": f32(3, 2)}), DOWN + "_scale_inv", "[3, 2]", "[2, 3]"),
    "none": (lambda s: s.pop(DOWN + "_scale_inv"), DOWN, "no scales beside it"),
    "per column": (lambda s: s.update({DOWN + "_scale_inv": f32(320)}), "[320]", "[192, 1]"),
    "row of columns": (lambda s: s.update({DOWN + "_scale_inv": f32(1, 320)}), "[1, 320]"),
    "other blocks than said": (lambda s: s.update({DOWN + "_scale_inv": f32(3, 5)}), "[3, 5]", "128 x 128"),
    "three dimensions": (lambda s: s.update({DOWN + "_scale_inv": f32(2, 2, 3)}), "2, 3]"),
    "integers": (lambda s: s.update({DOWN + "_scale_inv": P.Stored("I32", np.ones((2, 3), np.int32))}), "I32", "F32, F16, BF16"),
    "NaN scale": (lambda s: s.update({K + "_scale_inv": f32(1, 2, value=np.nan)}), K + "_scale_inv", "nan"),
    "Inf scale": (lambda s: s.update({K + "_scale_inv": f32(1, 2, value=np.inf)}), K + "_scale_inv", "inf"),
    "NaN byte": (lambda s: poke(s, K, 777, 0x7f), K, "NaN", "0x7f"),
    "last NaN byte": (lambda s: poke(s, DOWN, 192 * 320 - 1, 0xff), DOWN, "NaN"),
    "NaN in a vector": (lambda s: s.update({"model.norm.weight": P.Stored("F8_E4M3", np.full(192, 0xff, np.uint8))}), "model.norm.weight", "NaN"),
    "scales of F32 weights": (lambda s: s.update({"lm_head.weight": s["lm_head.weight"], "model.norm.weight_scale": f32(1)}), "model.norm.weight_scale", "has no place"),
    "both kinds of scales": (lambda s: s.update({DOWN + "_scale": f32(1)}), DOWN + "_scale", "has no place"),
    "E5M2": (lambda s: setattr(s[K], "dtype", "F8_E5M2"), K, "F8_E5M2"),
    "a wrong shape": (lambda s: setattr(s[K], "shape", [s[K].shape[1], s[K].shape[0]]), K, "expected"),
}


@pytest.mark.parametrize("name", BAD)
def test_refused(name, build, tmp_path):
    kind = next(k for k in P.KINDS if k.name == "deepseek")
    bend, *says = BAD[name]
    stored, _ = P.build(kind)
    bend(stored)
    P.write_stored(str(tmp_path / "m"), kind, stored)
    p = subprocess.run([build / "rocmforge", "run", tmp_path / "m", "hi", "--max-tokens", "1"], capture_output=True, text=True, timeout=60)
    assert p.returncode == 3 and p.stderr.count("\n") == 1, p.stderr
    for word in says:
        assert word in p.stderr


@pytest.mark.parametrize("size", [[0, 128], [-1, 128], [128], "128x128", [1 << 62, 1 << 62], None, [[1], 2], [1.5, 2]])
def test_odd_block_size(size, build, tmp_path):
    """A size that is none is as good as unsaid; one that does not fit is refused."""
    kind = next(k for k in P.KINDS if k.name == "deepseek")
    stored, _ = P.build(kind)
    P.write_stored(str(tmp_path / "m"), P.Kind("m", kind.variant, None, {"quant_method": "fp8", "weight_block_size": size}), stored)
    p = subprocess.run([build / "rocmforge", "run", tmp_path / "m", "hi", "--max-tokens", "1"], capture_output=True, text=True, timeout=60)
    assert p.returncode == (3 if size == [1 << 62, 1 << 62] else 0), p.stderr


def test_show_says_fp8(build, tmp_path):
    kind = next(k for k in P.KINDS if k.name == "deepseek")
    P.write(str(tmp_path), kind)
    p = subprocess.run([build / "rocmforge", "show", tmp_path / "deepseek"], capture_output=True, text=True, timeout=60)
    assert p.returncode == 0 and "FP8" in p.stdout, p.stdout + p.stderr
    p = subprocess.run([build / "rocmforge", "show", tmp_path / "deepseek", "-v"], capture_output=True, text=True, timeout=60)
    assert "F8_E4M3" in p.stdout, p.stdout + p.stderr


def test_memory_is_that_of_bytes(build, tmp_path):
    """Bytes stay bytes: a model takes what the file has and a scale of 4 bytes for each 32, not the 4 bytes of floats."""
    kind = P.Kind("large", F.Variant("large_fp8", F.base("llama", "LlamaForCausalLM", hidden_size=512, intermediate_size=1408, num_attention_heads=8,
                                                       num_key_value_heads=8), "llama", seed=1), (128, 128), P.DEEPSEEK, "_scale_inv")
    stored, _ = P.build(kind)
    P.write_stored(str(tmp_path / "m"), kind, stored)
    size = os.path.getsize(tmp_path / "m/model.safetensors")
    p = subprocess.run([build / "tests/golden/golden_probe", tmp_path / "m", "kv_blocks=8"], input=f"1 -1 {' '.join(map(str, PROMPT[:8]))}\n", capture_output=True, text=True,
                       timeout=60)
    assert p.returncode == 0, p.stderr
    resident = json.loads(p.stdout.splitlines()[-1])["stats"]["resident"]
    assert 0.9 * size < resident < 1.13 * size, (resident, size)
