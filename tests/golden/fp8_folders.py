"""Folders with F8_E4M3 weights, as DeepSeek and Qwen, vLLM, compressed-tensors, fbgemm, ModelOpt and Quark write them, and the same weights as F32.

The tiny models of fixtures.py, sized so that blocks are cut off at the edges: rows and columns that are no multiple of 128.
"""
import json
import os
import struct

import fixtures as F
import numpy as np

SIZES = dict(hidden_size=192, intermediate_size=320, num_attention_heads=6, num_key_value_heads=2)
LLAMA = F.Variant("llama_fp8", F.base("llama", "LlamaForCausalLM", **SIZES), "llama", seed=3)
QWEN2 = F.Variant("qwen2_fp8", F.base("qwen2", "Qwen2ForCausalLM", rope_theta=1000000.0, rms_norm_eps=1e-6, use_sliding_window=False,
                                      sliding_window=None, max_window_layers=2, tie_word_embeddings=True, **SIZES), "qwen2", seed=3)
QWEN3 = F.Variant("qwen3_fp8", F.base("qwen3", "Qwen3ForCausalLM", rope_theta=1000000.0, rms_norm_eps=1e-6, attention_bias=False,
                                      use_sliding_window=False, sliding_window=None, head_dim=64, **{**SIZES, "num_attention_heads": 4}), "qwen3", seed=3)
ODD = F.Variant("odd_fp8", F.base("llama", "LlamaForCausalLM", **{**SIZES, "intermediate_size": 328}), "llama", seed=3)


# ---- the format ----------------------------------------------------------------------------------------------------

def f8_table():
    """float8_e4m3fn (OCP 8-bit Floating Point Specification) without its NaN."""
    b = np.arange(256)
    e, m = b >> 3 & 15, b & 7
    return (np.where(e == 0, m / 8 * 2.0 ** -6, (1 + m / 8) * 2.0 ** (e - 7.0)) * np.where(b >> 7, -1, 1)).astype(np.float32)


TABLE = f8_table()


def f8_bits(x):
    """The nearest code to each value (in the middle: the smaller)."""
    mid = (TABLE[:126].astype(np.float64) + TABLE[1:127]) / 2
    return (np.searchsorted(mid, np.abs(x)) | np.signbit(x).astype(int) << 7).astype(np.uint8)


def spread(scale, shape, block):
    """One scale a value."""
    return np.repeat(np.repeat(scale, block[0], 0), block[1], 1)[:shape[0], :shape[1]]


def block_max(x, block):
    r, c = (-(-n // b) for n, b in zip(x.shape, block))
    pad = np.zeros((r * block[0], c * block[1]), np.float32)
    pad[:x.shape[0], :x.shape[1]] = np.abs(x)
    return pad.reshape(r, block[0], c, block[1]).max((1, 3))


class Stored:
    """A tensor as the file has it."""
    def __init__(self, dtype, array, shape=None):
        self.dtype, self.data, self.shape = dtype, array.tobytes(), list(array.shape if shape is None else shape)


def scales_as(s, dtype):
    """(stored bytes, what they mean)"""
    if dtype == "BF16":
        bits = F.bf16_bits(s)
        return bits, F.from_bf16(bits).reshape(s.shape)
    if dtype == "F8_E8M0":
        e = np.ceil(np.log2(s)).astype(np.int32)
        return (e + 127).astype(np.uint8), np.exp2(e.astype(np.float64)).astype(np.float32)
    return s.astype("<f4"), s.astype(np.float32)


def quantize(x, block, dtype="F32", shape=None):
    """(bytes, scales, float32 that both together mean). block None: no scale."""
    if block is None:
        q = f8_bits(x)
        return Stored("F8_E4M3", q), None, TABLE[q]
    if x.ndim == 1:
        return (*quantize(x[None], block, dtype, shape)[:2], quantize(x[None], block, dtype, shape)[2][0])
    block = [n if b == 0 else b for n, b in zip(x.shape, block)]
    raw, s = scales_as(block_max(x, block) / np.float32(448), dtype)
    wide = spread(s, x.shape, block)
    q = f8_bits(np.clip(x / wide, -448, 448))
    if shape is not None:
        shape = [int(s.size) if n == "n" else s.shape["RC".index(n)] if n in ("R", "C") else n for n in shape]
    return Stored("F8_E4M3", q), Stored(dtype, raw, shape), TABLE[q] * wide


# ---- who writes what -----------------------------------------------------------------------------------------------

class Kind:
    """block: rows and columns of a scale, 0 all of them; shape: of a tensor's scales where it is not two-dimensional ("n": how many there are,
    "R" and "C": of them, rows and columns)."""

    def __init__(self, name, variant, block, config, suffix="_scale", dtype="F32", shape=None, extra=(), every=False, exact=True):
        self.name, self.variant, self.block, self.config, self.suffix, self.dtype = name, variant, block, config, suffix, dtype
        self.shape, self.extra, self.every = shape, extra, every
        self.exact = exact  # else such weights are computed as BF16

    def takes(self, name):
        return self.every or ("proj.weight" in name)


def compressed(**weights):
    return {"quant_method": "compressed-tensors", "format": "float-quantized", "ignore": ["lm_head"],
            "config_groups": {"group_0": {"targets": ["Linear"], "weights": {"num_bits": 8, "type": "float", "symmetric": True, **weights}}}}


DEEPSEEK = {"quant_method": "fp8", "fmt": "e4m3", "activation_scheme": "dynamic", "weight_block_size": [128, 128]}
KINDS = [
    Kind("deepseek", LLAMA, (128, 128), DEEPSEEK, "_scale_inv"),
    Kind("qwen3", QWEN3, (128, 128), DEEPSEEK, "_scale_inv", "BF16"),
    Kind("autofp8", QWEN2, (0, 0), {"quant_method": "fp8", "activation_scheme": "static"}, shape=[], extra=("input_scale",)),
    Kind("modelopt", LLAMA, (0, 0), {"quant_method": "modelopt", "quant_algo": "FP8"}, shape=[1], extra=("input_scale", "k_scale", "v_scale")),
    Kind("modelopt_blocks", LLAMA, (128, 128), {"quant_method": "modelopt", "quant_algo": "FP8_PB_WO"}, shape=["R", 1, "C", 1]),
    Kind("mistral", LLAMA, (0, 0), {"quant_method": "fp8", "activation_scheme": "static", "weight_block_size": None}, "_scale_inv", "BF16", shape=[],
         extra=("activation_scale",)),
    Kind("quark", LLAMA, (0, 0), {"quant_method": "quark"}, shape=[], extra=("input_scale", "output_scale")),
    Kind("channel", QWEN3, (1, 0), compressed(strategy="channel"), dtype="BF16"),
    Kind("fbgemm", LLAMA, (1, 0), {"quant_method": "fbgemm_fp8", "activation_scale_ub": 1200.0}, extra=("input_scale_ub",)),
    Kind("rows", LLAMA, (1, 0), {"quant_method": "fp8"}, shape=["n"]),
    Kind("structure", LLAMA, (64, 128), compressed(strategy="block", block_structure=[64, 128]), dtype="BF16"),
    Kind("undeclared", LLAMA, (64, 0), compressed(strategy="block")),                   # to be derived: rows of 192, 64, 320 in blocks of 64
    Kind("bare", QWEN2, None, None, every=True),                                        # every tensor cast, vectors too
    Kind("embedded", QWEN2, (1, 0), {"quant_method": "fp8"}, every=True),               # tied embeddings and norms too
    Kind("mx", LLAMA, (1, 32), {"quant_method": "mxfp8"}, dtype="F8_E8M0", exact=False),
    Kind("groups", LLAMA, (1, 64), compressed(strategy="group", group_size=64), exact=False),
    Kind("odd", ODD, (128, 128), DEEPSEEK, "_scale_inv", exact=False),                  # 328 columns: no whole blocks of 32
]


def build(kind):
    """({name: Stored} of the folder, {name: float32} it means)."""
    stored, plain = {}, {}
    for name, x in kind.variant.tensors().items():
        if not kind.takes(name):
            stored[name], plain[name] = Stored("F32", x), x
            continue
        block = (1, 0) if x.ndim == 1 and kind.block else kind.block
        stored[name], scale, plain[name] = quantize(x, block, kind.dtype, kind.shape)
        if x.ndim == 1:
            stored[name].shape = [x.size]
        if scale:
            stored[name + kind.suffix] = scale
        stem = name.rsplit(".", 1)[0]
        for e in kind.extra:
            if e == "output_scale" and "k_proj" not in name and "v_proj" not in name or e in ("k_scale", "v_scale") and e[0] + "_proj" not in name:
                continue
            stored[f"{stem}.{e}"] = Stored("F32", np.float32(0.5).reshape(()))
    return stored, plain


def write_safetensors(path, stored):
    head, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, s in stored.items():
        head[name] = {"dtype": s.dtype, "shape": s.shape, "data_offsets": [at, at + len(s.data)]}
        blobs.append(s.data)
        at += len(s.data)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_stored(folder, kind, stored):
    os.makedirs(folder, exist_ok=True)
    config = dict(kind.variant.config)
    if kind.config:
        config["quantization_config"] = kind.config
    for name, body in (("config.json", config), ("generation_config.json", {"bos_token_id": F.BOS, "eos_token_id": F.EOS}),
                       ("tokenizer_config.json", {"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"})):
        with open(os.path.join(folder, name), "w") as f:
            json.dump(body, f)
    with open(os.path.join(folder, "tokenizer.json"), "w") as f:
        f.write(open(os.path.join(F.DATA, "tokenizer.json")).read())
    write_safetensors(os.path.join(folder, "model.safetensors"), stored)


def write(root, kind):
    """root/NAME and root/NAME-plain, the same weights as F32."""
    stored, plain = build(kind)
    write_stored(os.path.join(root, kind.name), kind, stored)
    write_stored(os.path.join(root, kind.name + "-plain"), Kind(kind.name, kind.variant, None, None), {n: Stored("F32", x) for n, x in plain.items()})
