"""Writes quant_vectors.h: random blocks of every type and what PyPI gguf decodes from them, as bits.

    python tests/unit/quant/make_quant_vectors.py > tests/unit/quant/quant_vectors.h
"""
import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType
from gguf.quants import dequantize

SCALES = {"Q4_0": [0], "Q4_1": [0, 2], "Q5_0": [0], "Q5_1": [0, 2], "Q8_0": [0], "Q2_K": [80, 82], "Q3_K": [108],
          "Q4_K": [0, 2], "Q5_K": [0, 2], "Q6_K": [208]}


def rows(name, values, width, fmt):
    print(f"static const {name}[] = {{")
    for i in range(0, len(values), width):
        print("    " + " ".join(fmt % v + "," for v in values[i:i + width]))
    print("};")


rng = np.random.default_rng(1)
print("/* Made by make_quant_vectors.py from PyPI gguf; do not edit. */")
names = ["F16", "BF16", *SCALES]
for name in names:
    t = GGMLQuantizationType[name]
    block, size = GGML_QUANT_SIZES[t]
    n = max(64 // block, 1)
    raw = rng.integers(0, 256, (n, size), dtype=np.uint8)
    for at in SCALES.get(name, []):  # scales are finite, among them a subnormal and a negative one
        raw[:, at:at + 2] = (rng.standard_normal(n) * 0.1).astype(np.float16).view(np.uint8).reshape(n, 2)
    if name in ("F16", "BF16"):
        raw[:, 1] &= 0xBB  # no Inf, no NaN
    out = dequantize(raw.reshape(1, -1), t).astype(np.float32).ravel()
    assert np.isfinite(out).all()
    rows(f"uint8_t raw_{name}", raw.ravel(), 24, "%d")
    rows(f"uint32_t want_{name}", out.view(np.uint32), 8, "0x%08x")
print("static const struct { uint32_t type; const uint8_t *raw; const uint32_t *want; uint32_t n; } vectors[] = {")
for name in names:
    print(f"    {{RF_TYPE_{name}, raw_{name}, want_{name}, sizeof want_{name} / 4}},")
print("};")
