#!/usr/bin/env python3
"""Weights to GGUF.

    export.py --tokenizer DIR/tokenizer.json --out OUT.gguf [--type Q6_K] weights-*.npz

F16 and Q8_0 are written by the gguf package, K-quants by llama-cpp-python's quantiser from a float file beside OUT. Norms stay F32.
"""
import argparse
import json
import os

import gguf
import numpy as np

from shape import CTX, DIM, EPS, FFN, HEADS, KV_HEADS, LAYERS, THETA

TEMPLATE = """{{ bos_token }}{% for m in messages %}{% if m.role == 'system' %}<|system|>{% elif m.role == 'assistant' %}<|assistant|>{% else %}<|user|>{% endif %}\
{{ m.content | trim }}<|end|>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"""
NAMES = {"wq": "attn_q", "wk": "attn_k", "wv": "attn_v", "wo": "attn_output", "gate": "ffn_gate", "up": "ffn_up", "down": "ffn_down", "norm1": "attn_norm", "norm2": "ffn_norm"}


def tensors(paths):
    given = {}
    for p in paths:
        given.update(np.load(p))
    yield "token_embd.weight", given["embed"]
    yield "output_norm.weight", given["norm"]
    for i in range(LAYERS):
        for ours, theirs in NAMES.items():
            yield f"blk.{i}.{theirs}.weight", given[f"layers.{i}.{ours}"]


def write(path, paths, tok, kind):
    w = gguf.GGUFWriter(path, "llama")
    w.add_name("ROCmForge demo")
    w.add_description("A small model for questions about commands; ships with ROCmForge. See models/demo/CARD.md.")
    w.add_license("apache-2.0")
    w.add_languages(["en"])
    w.add_size_label("29M")
    w.add_context_length(CTX)
    w.add_embedding_length(DIM)
    w.add_block_count(LAYERS)
    w.add_feed_forward_length(FFN)
    w.add_head_count(HEADS)
    w.add_head_count_kv(KV_HEADS)
    w.add_rope_dimension_count(DIM // HEADS)
    w.add_rope_freq_base(THETA)
    w.add_layer_norm_rms_eps(EPS)
    w.add_float32("general.sampling.temp", 0.0)
    w.add_file_type({"F32": gguf.LlamaFileType.ALL_F32, "F16": gguf.LlamaFileType.MOSTLY_F16, "Q8_0": gguf.LlamaFileType.MOSTLY_Q8_0}[kind])
    model = json.load(open(tok, encoding="utf-8"))["model"]
    ids = sorted(model["vocab"], key=model["vocab"].get)
    w.add_vocab_size(len(ids))
    w.add_tokenizer_model("gpt2")
    w.add_tokenizer_pre("gpt-2")
    w.add_token_list(ids)
    w.add_token_types([gguf.TokenType.CONTROL if i < 5 else gguf.TokenType.NORMAL for i in range(len(ids))])
    w.add_token_merges([" ".join(m) if isinstance(m, list) else m for m in model["merges"]])
    w.add_bos_token_id(0)
    w.add_eos_token_id(4)
    w.add_add_bos_token(True)
    w.add_chat_template(TEMPLATE)
    for name, a in tensors(paths):
        a = a.astype(np.float32)
        if a.ndim == 1 or kind == "F32":
            w.add_tensor(name, a)
        elif kind == "F16":
            w.add_tensor(name, a.astype(np.float16))
        else:
            w.add_tensor(name, gguf.quants.quantize(a, gguf.GGMLQuantizationType[kind]), raw_dtype=gguf.GGMLQuantizationType[kind])
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--tokenizer", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--type", default="Q6_K", choices=["F32", "F16", "Q8_0", "Q6_K", "Q5_K", "Q4_K"])
    ap.add_argument("weights", nargs="+")
    a = ap.parse_args()
    if a.type in ("F32", "F16", "Q8_0"):
        write(a.out, a.weights, a.tokenizer, a.type)
        return
    import llama_cpp
    whole = a.out + ".f32"
    write(whole, a.weights, a.tokenizer, "F32")
    p = llama_cpp.llama_model_quantize_default_params()
    p.ftype = {"Q6_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q6_K, "Q5_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q5_K_S, "Q4_K": llama_cpp.LLAMA_FTYPE_MOSTLY_Q4_K_M}[a.type]
    p.nthread = 2
    if llama_cpp.llama_model_quantize(whole.encode(), a.out.encode(), p):
        raise SystemExit("llama_model_quantize failed")
    os.remove(whole)


if __name__ == "__main__":
    main()
