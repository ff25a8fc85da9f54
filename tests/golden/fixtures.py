"""Tiny models for the golden tests, made from nothing but a seed.

Every weight is a hash of (variant, tensor name, index), so the repository holds only configs, a tokenizer and the
expected numbers (data/), never weights. The same variant is written as a Hugging Face folder (safetensors, both config
spellings) and as GGUF with llama.cpp's names and layout. make_golden.py checked each of them with other engines and
committed what they answered; test_golden.py asks ours.

    python fixtures.py OUTDIR      writes everything (a few MB, seconds)
"""
import base64
import hashlib
import json
import os
import struct
import sys

import gguf
import numpy as np

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")
VOCAB = 320
BOS, EOS = 0, 1


# ---- numbers out of names ------------------------------------------------------------------------------------------

def hashed(key, n):
    """n uint64 that depend on key alone (splitmix64 over a counter)."""
    start = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "little")
    with np.errstate(over="ignore"):
        z = np.uint64(start) + np.arange(1, n + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(key, shape):
    """float32 in [-1, 1), 24 bits each."""
    n = int(np.prod(shape))
    u = (hashed(key, n) >> np.uint64(40)).astype(np.float32) * np.float32(2.0 ** -23) - np.float32(1)
    return u.reshape(shape)


def token_ids(key, n):
    """n ordinary token ids."""
    return [int(h % np.uint64(VOCAB - 2)) + 2 for h in hashed(key, n)]


# ---- the variants --------------------------------------------------------------------------------------------------

class Variant:
    """One tiny model. config: its config.json in the old spelling; arch: its GGUF architecture."""

    def __init__(self, name, config, arch, gguf_types=("F32",), rope_freqs=False, hf_types=("F32",), shards=1,
                 gguf_keys=None, seed=0):
        self.name, self.config, self.arch, self.seed = name, config, arch, seed
        self.gguf_types, self.hf_types, self.shards = gguf_types, hf_types, shards
        self.rope_freqs, self.gguf_keys = rope_freqs, gguf_keys or {}

    def get(self, key, default=None):
        v = self.config.get(key)
        return default if v is None else v

    @property
    def head_dim(self):
        return self.get("head_dim", self.config["hidden_size"] // self.config["num_attention_heads"])

    @property
    def gemma(self):
        return self.arch == "gemma3"

    def tensors(self):
        """{hf name: float32 array}, as the folder stores them."""
        c, out = self.config, {}
        d, ff = c["hidden_size"], c["intermediate_size"]
        nq, nkv = c["num_attention_heads"] * self.head_dim, c["num_key_value_heads"] * self.head_dim
        tied = c["tie_word_embeddings"]

        def put(name, shape, scale, offset=0.0):
            u = uniform(f"{self.name}/{self.seed}/{name}", shape)
            out[name] = u * np.float32(scale) + np.float32(offset)

        def linear(name, rows, cols, gain=1.5):
            put(name + ".weight", (rows, cols), gain * (3.0 / cols) ** 0.5)

        def norm(name, n):
            put(name + ".weight", (n,), 0.3, 0.0 if self.gemma else 1.0)

        put("model.embed_tokens.weight", (VOCAB, d), 0.07 if self.gemma else 0.4 if tied else 1.0)
        for i in range(c["num_hidden_layers"]):
            p = f"model.layers.{i}."
            linear(p + "self_attn.q_proj", nq, d)
            linear(p + "self_attn.k_proj", nkv, d)
            linear(p + "self_attn.v_proj", nkv, d)
            linear(p + "self_attn.o_proj", d, nq)
            if c["model_type"] == "qwen2":
                for x, n in (("q", nq), ("k", nkv), ("v", nkv)):
                    put(p + f"self_attn.{x}_proj.bias", (n,), 0.5)
            if c["model_type"] in ("qwen3", "gemma3_text"):
                norm(p + "self_attn.q_norm", self.head_dim)
                norm(p + "self_attn.k_norm", self.head_dim)
            linear(p + "mlp.gate_proj", ff, d)
            linear(p + "mlp.up_proj", ff, d)
            linear(p + "mlp.down_proj", d, ff)
            norm(p + "input_layernorm", d)
            norm(p + "post_attention_layernorm", d)
            if self.gemma:
                norm(p + "pre_feedforward_layernorm", d)
                norm(p + "post_feedforward_layernorm", d)
        norm("model.norm", d)
        if not tied:
            linear("lm_head", VOCAB, d, 2.0)
        return out


def base(model_type, cls, **kw):
    c = {"architectures": [cls], "model_type": model_type, "vocab_size": VOCAB, "hidden_size": 64,
         "intermediate_size": 96, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
         "max_position_embeddings": 512, "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False,
         "hidden_act": "silu", "bos_token_id": BOS, "eos_token_id": EOS, "torch_dtype": "float32"}
    c.update(kw)
    return c


LLAMA3_ROPE = {"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
               "original_max_position_embeddings": 64}


def gemma(**kw):
    c = dict(hidden_size=96, num_hidden_layers=7, head_dim=32, rms_norm_eps=1e-6, rope_theta=1000000.0,
             rope_local_base_freq=10000.0, sliding_window=16, sliding_window_pattern=6, query_pre_attn_scalar=32,
             tie_word_embeddings=True, hidden_activation="gelu_pytorch_tanh", attn_logit_softcapping=None,
             final_logit_softcapping=None, num_key_value_heads=1)
    c.update(kw)
    c = base("gemma3_text", "Gemma3ForCausalLM", **c)
    del c["hidden_act"]
    return c


MIX = ("Q2_K", "Q3_K", "Q4_K", "Q5_K", "Q6_K", "Q4_0", "Q4_1", "Q5_0", "Q5_1", "Q8_0", "F16", "BF16", "F32")

VARIANTS = [
    Variant("llama", base("llama", "LlamaForCausalLM"), "llama", gguf_types=("F32", "F16", "BF16", "Q8_0", "Q4_0"),
            hf_types=("F32", "F16", "BF16"), seed=5),
    Variant("llama31", base("llama", "LlamaForCausalLM", rope_theta=500000.0, rope_scaling=LLAMA3_ROPE,
                            tie_word_embeddings=True, num_hidden_layers=3, head_dim=32), "llama", rope_freqs=True, seed=2),
    Variant("llama_linear", base("llama", "LlamaForCausalLM", rope_scaling={"type": "linear", "factor": 2.0}), "llama",
            gguf_keys={"rope.scaling.type": "linear", "rope.scaling.factor": 2.0}, shards=3),
    # What few configs say and every answer depends on; GGUF has no keys for it.
    Variant("llama_yarn", base("llama", "LlamaForCausalLM", hidden_act="relu", rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32, "beta_fast": 8.0, "mscale": 0.7,
        "mscale_all_dim": 1.4, "truncate": False}), "llama", gguf_types=(), seed=2),
    # YaRN as GGUF says it: a factor of 1 is on top of YaRN's own.
    Variant("llama_yarn_plain", base("llama", "LlamaForCausalLM", rope_scaling={
        "rope_type": "yarn", "factor": 4.0, "original_max_position_embeddings": 32}), "llama",
            gguf_keys={"rope.scaling.type": "yarn", "rope.scaling.factor": 4.0, "rope.scaling.original_context_length": 32,
                       "rope.scaling.attn_factor": 1.0}, seed=5),
    # Every tensor of another type; 256 wide so that the K types fit. Their bytes are random, not quantised.
    Variant("llama_mix", base("llama", "LlamaForCausalLM", hidden_size=256, intermediate_size=256,
                              num_attention_heads=8, num_key_value_heads=4), "llama", gguf_types=("MIX",), hf_types=()),
    Variant("mistral", base("mistral", "MistralForCausalLM", head_dim=32, sliding_window=None), "llama"),
    # GGUF has no window for this family (llama.cpp's converter drops it), so only as a folder.
    Variant("mistral_window", base("mistral", "MistralForCausalLM", sliding_window=16, num_hidden_layers=3), "llama",
            gguf_types=()),
    Variant("qwen2", base("qwen2", "Qwen2ForCausalLM", rope_theta=1000000.0, rms_norm_eps=1e-6, use_sliding_window=False,
                          sliding_window=None, max_window_layers=2), "qwen2", gguf_types=("F32", "Q8_0"), seed=1),
    Variant("qwen3", base("qwen3", "Qwen3ForCausalLM", rope_theta=1000000.0, rms_norm_eps=1e-6, head_dim=32,
                          attention_bias=False, use_sliding_window=False, sliding_window=None), "qwen3"),
    Variant("gemma3", gemma(), "gemma3", gguf_types=("F32", "Q8_0"), seed=6),
    # As the larger ones: the full-attention layers have a scaled rope; the local ones do not.
    Variant("gemma3_linear", gemma(rope_scaling={"rope_type": "linear", "factor": 8.0}, num_key_value_heads=2), "gemma3",
            gguf_keys={"rope.scaling.type": "linear", "rope.scaling.factor": 8.0}, seed=11),
    # A softmax scale that is not 1/sqrt(head_dim): has no GGUF key, so only as a folder.
    Variant("gemma3_scalar", gemma(query_pre_attn_scalar=20, sliding_window_pattern=2, num_hidden_layers=4), "gemma3",
            gguf_types=()),
]


# ---- types ---------------------------------------------------------------------------------------------------------

def bf16_bits(x):
    """float32 to the upper 16 bits, nearest even."""
    u = np.ascontiguousarray(x, dtype=np.float32).view(np.uint32)
    return ((u + np.uint32(0x7FFF) + ((u >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)).astype(np.uint16)


def from_bf16(b):
    return (b.astype(np.uint32) << np.uint32(16)).view(np.float32)


def round_to(x, type_name):
    """What is left of x once a folder has stored it as type_name."""
    if type_name == "F16":
        return x.astype(np.float16).astype(np.float32)
    if type_name == "BF16":
        return from_bf16(bf16_bits(x))
    return x


# Where the half-precision scales of a K block sit, and roughly what one unit of them is worth.
K_SCALES = {"Q2_K": ((80, 1 / 37.0), (82, 1 / 37.0)), "Q3_K": ((108, 1 / 120.0),), "Q4_K": ((0, 1 / 750.0), (2, 1 / 100.0)),
            "Q5_K": ((0, 1 / 1500.0), (2, 1 / 100.0)), "Q6_K": ((208, 1 / 3700.0),)}


def random_k_blocks(key, shape, type_name, scale):
    """Raw blocks of a K type: random bytes with sane scales."""
    qtype = gguf.GGMLQuantizationType[type_name]
    block, size = gguf.GGML_QUANT_SIZES[qtype]
    n = int(np.prod(shape)) // block
    raw = (hashed(key, n * size) >> np.uint64(56)).astype(np.uint8).reshape(n, size)
    for off, unit in K_SCALES[type_name]:
        d = np.float16(unit * scale) * (1 + (raw[:, off] & 1)).astype(np.float16)
        raw[:, off:off + 2] = d.view(np.uint8).reshape(n, 2)
    return raw.reshape(shape[0], -1)


def encode(name, x, type_name):
    """(array as the file stores it, gguf type, float32 it stands for). Vectors stay F32, as in every real file."""
    if x.ndim == 1 or type_name == "F32":
        return x, None, x
    qtype = gguf.GGMLQuantizationType[type_name]
    if type_name in K_SCALES:
        q = random_k_blocks(name, x.shape, type_name, float(np.abs(x).max()))
    else:
        q = gguf.quants.quantize(x, qtype)
    return q, qtype, gguf.quants.dequantize(q, qtype).reshape(x.shape).astype(np.float32)


def type_of(type_name, i):
    return MIX[i % len(MIX)] if type_name == "MIX" else type_name


# ---- GGUF ----------------------------------------------------------------------------------------------------------

GGUF_NAMES = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v",
              "self_attn.o_proj": "attn_output", "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm",
              "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down",
              "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm"}
GEMMA_NAMES = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
               "post_feedforward_layernorm": "post_ffw_norm"}


def gguf_name(v, name):
    top = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight",
           "lm_head.weight": "output.weight"}
    if name in top:
        return top[name]
    _, _, layer, rest = name.split(".", 3)
    stem, kind = rest.rsplit(".", 1)
    names = {**GGUF_NAMES, **(GEMMA_NAMES if v.gemma else {})}
    return f"blk.{layer}.{names[stem]}.{kind}"


def interleave(x, n_head):
    """Rows of a head from (first half, second half) to pairs: what arch "llama" wants of q and k."""
    return x.reshape(n_head, 2, x.shape[0] // n_head // 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def deinterleave(x, n_head):
    return x.reshape(n_head, x.shape[0] // n_head // 2, 2, *x.shape[1:]).swapaxes(1, 2).reshape(x.shape)


def rope_factors(v):
    """Divisors of the rope frequencies by Llama 3.1's rule: long waves by `factor`, short ones by 1, a ramp between."""
    s, half = v.config["rope_scaling"], v.head_dim // 2
    freq = v.config["rope_theta"] ** (-np.arange(half, dtype=np.float64) / half)
    wave = 2 * np.pi / freq
    low, high = s["original_max_position_embeddings"] / s["low_freq_factor"], \
        s["original_max_position_embeddings"] / s["high_freq_factor"]
    smooth = (s["original_max_position_embeddings"] / wave - s["low_freq_factor"]) / \
        (s["high_freq_factor"] - s["low_freq_factor"])
    ramp = 1 / ((1 - smooth) / s["factor"] + smooth)
    return np.where(wave < high, 1.0, np.where(wave > low, s["factor"], ramp)).astype(np.float32)


def heads_of(v, name):
    if v.arch != "llama" or name.rsplit(".", 2)[-2] not in ("q_proj", "k_proj"):
        return 0
    return v.config["num_attention_heads" if ".q_proj" in name else "num_key_value_heads"]


def gguf_tensors(v, type_name):
    """[(gguf name, stored array, type, hf name, float32 in the folder's layout)]"""
    out = []
    for i, (name, x) in enumerate(v.tensors().items()):
        heads = heads_of(v, name)
        y = interleave(x, heads) if heads else x
        if v.gemma and name.endswith("norm.weight"):
            y = y + np.float32(1)
        stored, qtype, plain = encode(f"{v.name}/{name}", y, type_of(type_name, i))
        plain = deinterleave(plain, heads) if heads else plain
        if v.gemma and name.endswith("norm.weight"):
            plain = plain - np.float32(1)
        out.append((gguf_name(v, name), stored, qtype, name, plain))
    return out


def add_tokenizer(w):
    tok = json.load(open(os.path.join(DATA, "tokenizer.json")))
    vocab = sorted(tok["model"]["vocab"], key=tok["model"]["vocab"].get)
    control = {t["content"] for t in tok["added_tokens"]}
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(vocab)
    w.add_token_types([3 if t in control else 1 for t in vocab])
    w.add_token_merges([m if isinstance(m, str) else " ".join(m) for m in tok["model"]["merges"]])
    w.add_bos_token_id(BOS)
    w.add_eos_token_id(EOS)
    w.add_add_bos_token(False)


def write_gguf(v, path, type_name, split=0):
    c = v.config
    w = gguf.GGUFWriter(path, v.arch, split_max_tensors=split)
    w.add_name(f"golden {v.name}")
    w.add_context_length(c["max_position_embeddings"])
    w.add_embedding_length(c["hidden_size"])
    w.add_block_count(c["num_hidden_layers"])
    w.add_feed_forward_length(c["intermediate_size"])
    w.add_head_count(c["num_attention_heads"])
    w.add_head_count_kv(c["num_key_value_heads"])
    w.add_key_length(v.head_dim)
    w.add_value_length(v.head_dim)
    w.add_rope_dimension_count(v.head_dim)
    w.add_layer_norm_rms_eps(c["rms_norm_eps"])
    w.add_rope_freq_base(c["rope_theta"])
    w.add_vocab_size(VOCAB)
    if v.gemma:
        w.add_sliding_window(c["sliding_window"])
    for key, value in v.gguf_keys.items():
        add = {str: w.add_string, int: w.add_uint32, float: w.add_float32}[type(value)]
        add(f"{v.arch}.{key}", value)
    add_tokenizer(w)
    if v.rope_freqs:
        w.add_tensor("rope_freqs.weight", rope_factors(v))
    for name, stored, qtype, _, _ in gguf_tensors(v, type_name):
        w.add_tensor(name, stored, raw_dtype=qtype)
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


# ---- Hugging Face folder -------------------------------------------------------------------------------------------

def write_safetensors(path, tensors, type_name):
    codes = {"F32": ("F32", lambda x: x.astype("<f4")), "F16": ("F16", lambda x: x.astype("<f2")),
             "BF16": ("BF16", lambda x: bf16_bits(x).astype("<u2"))}
    head, blobs, at = {"__metadata__": {"format": "pt"}}, [], 0
    for name, x in tensors.items():
        this, convert = codes["F32" if x.ndim == 1 else type_name]
        b = convert(x).tobytes()
        head[name] = {"dtype": this, "shape": list(x.shape), "data_offsets": [at, at + len(b)]}
        blobs.append(b)
        at += len(b)
    text = json.dumps(head).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as f:
        f.write(struct.pack("<Q", len(text)) + text + b"".join(blobs))


def write_folder(v, path, type_name, spelling):
    """spelling: "old" (rope_theta, rope_scaling), or "new", what transformers 5 itself wrote (data/)."""
    os.makedirs(path, exist_ok=True)
    config = dict(v.config)
    if spelling == "new":
        config = json.load(open(os.path.join(DATA, v.name + ".config.json")))
    config["torch_dtype" if spelling == "old" else "dtype"] = \
        {"F32": "float32", "F16": "float16", "BF16": "bfloat16"}[type_name]
    with open(os.path.join(path, "config.json"), "w") as f:
        json.dump(config, f, indent=2)
    with open(os.path.join(path, "generation_config.json"), "w") as f:
        json.dump({"bos_token_id": BOS, "eos_token_id": EOS}, f)
    with open(os.path.join(path, "tokenizer_config.json"), "w") as f:
        json.dump({"tokenizer_class": "PreTrainedTokenizerFast", "bos_token": "<s>", "eos_token": "</s>"}, f)
    with open(os.path.join(path, "tokenizer.json"), "w") as f:
        f.write(open(os.path.join(DATA, "tokenizer.json")).read())
    tensors = v.tensors()
    if v.shards == 1:
        write_safetensors(os.path.join(path, "model.safetensors"), tensors, type_name)
        return
    names, index = list(tensors), {}
    for s in range(v.shards):
        part = f"model-{s + 1:05d}-of-{v.shards:05d}.safetensors"
        mine = names[s::v.shards]
        write_safetensors(os.path.join(path, part), {n: tensors[n] for n in mine}, type_name)
        index.update({n: part for n in mine})
    total = sum(x.nbytes for x in tensors.values())
    with open(os.path.join(path, "model.safetensors.index.json"), "w") as f:
        json.dump({"metadata": {"total_size": total}, "weight_map": index}, f)


# ---- all of it -----------------------------------------------------------------------------------------------------

def cases():
    """(case name, variant, weights' type, relative path). Cases with equal (variant, type) have equal weights."""
    out = []
    for v in VARIANTS:
        for t in v.gguf_types:
            out.append((f"{v.name}-{t}-gguf", v, t, f"{v.name}-{t}.gguf"))
        for t in v.hf_types:
            out.append((f"{v.name}-{t}-hf", v, t, f"{v.name}-{t}"))
        if "F32" in v.hf_types:
            out.append((f"{v.name}-F32-hf-old", v, "F32", f"{v.name}-F32-old"))
    out.append(("llama-F32-gguf-split", VARIANTS[0], "F32", "llama-split-00001-of-00003.gguf"))
    return out


def write_case(name, v, type_name, path):
    if name.endswith("-split"):
        write_gguf(v, path.replace("-00001-of-00003", ""), type_name, split=(len(v.tensors()) + 2) // 3)
    elif path.endswith(".gguf"):
        write_gguf(v, path, type_name)
    else:
        write_folder(v, path, type_name, "old" if name.endswith("-old") else "new")


def write_all(root):
    os.makedirs(root, exist_ok=True)
    for name, v, t, rel in cases():
        write_case(name, v, t, os.path.join(root, rel))


def expected_path(v, type_name):
    return os.path.join(DATA, f"{v.name}-{type_name}.json")


def expected(v, type_name):
    e = json.load(open(expected_path(v, type_name)))
    e["logits"] = np.frombuffer(base64.b64decode(e.pop("logits_f32")), dtype="<f4").reshape(len(e["positions"]), VOCAB)
    return e


if __name__ == "__main__":
    write_all(sys.argv[1])
