"""Every tensor type against PyPI gguf: decode bit-equal on random blocks, encode bit-equal for the types gguf encodes.

Needs the build's tests/unit/quant/quant_pipe; RF_BUILD names the build directory (default: build).
"""
import os
import pathlib
import subprocess

import numpy as np
import pytest
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize, quantize

ROOT = pathlib.Path(__file__).resolve().parents[3]
PIPE = ROOT / os.environ.get("RF_BUILD", "build") / "tests/unit/quant/quant_pipe"
TYPES = "F32 F16 BF16 Q4_0 Q4_1 Q5_0 Q5_1 Q8_0 Q2_K Q3_K Q4_K Q5_K Q6_K".split()
SEED = int(os.environ.get("RF_TEST_SEED", "20260101"))


def pipe(verb, type_id, n, data):
    run = subprocess.run([PIPE, verb, str(type_id), str(n)], input=data, capture_output=True, check=True)
    return run.stdout


def same_bits(got, want):
    """Equal bits, but any NaN for any NaN: its payload depends on the machine's conversion instruction."""
    nan = np.isnan(want)
    assert np.array_equal(nan, np.isnan(got))
    assert np.array_equal(got.view(np.uint32)[~nan], want.view(np.uint32)[~nan])


@pytest.mark.parametrize("name", TYPES)
def test_decode(name):
    t = GGMLQuantizationType[name]
    block, size = GGML_QUANT_SIZES[t]
    n_block = 200_000 // block
    raw = np.random.default_rng(SEED).integers(0, 256, n_block * size, dtype=np.uint8)
    with np.errstate(all="ignore"):
        want = dequantize(raw.reshape(1, -1), t).astype(np.float32).ravel()
    got = np.frombuffer(pipe("decode", int(t), n_block * block, raw.tobytes()), np.float32)
    same_bits(got, want)


@pytest.mark.parametrize("name", ["F32", "F16", "BF16", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0"])
def test_encode_equals_gguf(name):
    t = GGMLQuantizationType[name]
    rng = np.random.default_rng(SEED)
    x = rng.standard_normal((256, 256)).astype(np.float32) * np.float32(10.0) ** rng.integers(-6, 4, (256, 1)).astype(np.float32)
    x[0] = 0
    x[1, :64] = np.float32(-3.5)
    want = quantize(x, t).tobytes()
    assert pipe("encode", int(t), x.size, x.tobytes()) == want


@pytest.mark.parametrize("name", ["Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K"])
def test_encode_round_trip(name):
    t = GGMLQuantizationType[name]
    bound = {"Q2_K": 0.45, "Q3_K": 0.25, "Q4_K": 0.11, "Q5_K": 0.06, "Q6_K": 0.035}[name]
    x = np.random.default_rng(SEED).standard_normal((64, 1024)).astype(np.float32)
    raw = np.frombuffer(pipe("encode", int(t), x.size, x.tobytes()), np.uint8)
    back = dequantize(raw.reshape(1, -1), t).reshape(x.shape)
    assert np.sqrt(np.mean((back - x) ** 2)) < bound


# ---- F8_E4M3: PyPI gguf has none; the specification is a formula ----

F8_ID, F8_BLOCK = 60, np.dtype([("d", "<f4"), ("q", "u1", 32)])


def f8_values():
    """All 256 of float8_e4m3fn (OCP 8-bit Floating Point Specification, table 1)."""
    b = np.arange(256)
    e, m = b >> 3 & 15, b & 7
    v = np.where(e == 0, m / 8 * 2.0 ** -6, (1 + m / 8) * 2.0 ** (e - 7.0)) * np.where(b >> 7, -1, 1)
    v[b & 127 == 127] = np.nan
    return v.astype(np.float32)


def test_f8_decode():
    rng = np.random.default_rng(SEED)
    raw = np.zeros(1000, F8_BLOCK)
    raw["q"] = rng.integers(0, 256, (1000, 32))
    raw["q"][:8] = np.arange(256).reshape(8, 32)
    raw["d"] = rng.standard_normal(1000) * 10.0 ** rng.integers(-9, 9, 1000)
    raw["d"][:8] = 1
    want = f8_values()[raw["q"]] * raw["d"][:, None]
    got = np.frombuffer(pipe("decode", F8_ID, 32000, raw.tobytes()), np.float32)
    same_bits(got, want.ravel())


def test_f8_encode():
    """The nearest code, to even in the middle, under a scale that makes the largest of each 128 values 448."""
    rng = np.random.default_rng(SEED)
    x = (rng.standard_normal((2000, 32)) * 10.0 ** rng.integers(-3, 1, (2000, 32))).astype(np.float32)
    x[8:12] = 0
    half = f8_values()[:127]
    x[4] = np.concatenate([[448], (half[:31] + half[1:32]) / 2])    # scale 1: halfway between codes
    x[5] = np.concatenate([[-448], -(half[90:121] + half[91:122]) / 2])
    got = np.frombuffer(pipe("encode", F8_ID, x.size, x.tobytes()), F8_BLOCK)
    d = np.repeat(np.abs(x).reshape(-1, 128).max(axis=1), 4) / np.float32(448)
    assert np.array_equal(got["d"], d)
    with np.errstate(divide="ignore"):
        y = np.abs(x) * np.where(d == 0, np.float32(0), np.float32(1) / d)[:, None]
    mid = ((half[:-1].astype(np.float64) + half[1:]) / 2)
    code = np.searchsorted(mid, y, side="left")                     # ties go down ...
    code += (code < 126) & (code % 2 == 1) & (mid[np.minimum(code, 125)] == y)  # ... but to the even code
    assert np.array_equal(got["q"] & 127, code)
    assert np.array_equal(got["q"] >> 7, np.signbit(x))
