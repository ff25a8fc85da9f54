#!/usr/bin/env python3
"""Writes a GGUF of a known shape with random weights: something to measure speed on that every engine can load.

    make_model.py [--shape 1b] [--type q4_k_m] [--seed 1] OUT.gguf

Weights are random bytes in valid blocks, with block scales that give a matrix's values a standard deviation of about
1/sqrt(2048), so that activations and logits stay finite. Types are laid out as llama.cpp's quantiser lays out that mix:
Q4_K_M keeps attn_v and ffn_down of half the layers, and the output matrix, in Q6_K. The vocabulary is like
SentencePiece's: control tokens, all bytes, letters and short runs of letters, so that any text can be encoded. The text means nothing.
"""
import argparse
import itertools
import string

import gguf
import numpy as np

Q = gguf.GGMLQuantizationType

SHAPES = {  # n_layer, n_embd, n_head, n_kv_head, n_ff, n_vocab
    "tiny": (4, 256, 4, 2, 512, 32000),
    "1b": (16, 2048, 32, 8, 8192, 32000),
    "3b": (28, 3072, 24, 8, 8192, 32000),
    "8b": (32, 4096, 32, 8, 14336, 128256),  # Llama-3.1-8B
}
REPEAT = {"8b": 2048}  # rows of a matrix repeat after so many: what is random takes a minute less to make, and costs an engine the same
FILE_TYPE = {"bf16": 32, "f16": 1, "q8_0": 7, "q4_0": 2, "q4_k_m": 15}


def type_of(mix, name, layer, n_layer):
    """The tensor type of a matrix under a mix."""
    plain = {"bf16": Q.BF16, "f16": Q.F16, "q8_0": Q.Q8_0, "q4_0": Q.Q4_0, "q4_k_m": Q.Q4_K}[mix]
    if name == "output":
        return Q.Q6_K if mix in ("q4_k_m", "q4_0") else plain
    more = layer is not None and (layer < n_layer // 8 or layer >= 7 * n_layer // 8 or (layer - n_layer // 8) % 3 == 2)
    return Q.Q6_K if mix == "q4_k_m" and more and name in ("attn_v", "ffn_down") else plain


def half(values):
    return np.asarray(values, np.float16).view(np.uint8).reshape(-1, 2)


def random_rows(rng, kind, rows, cols, repeat):
    """rows x (bytes of a row of cols values), random; scales uniform in [0.5, 1.5) times what the type needs."""
    if repeat and rows > repeat:
        few = random_rows(rng, kind, repeat, cols, None)
        return np.resize(few, (rows, few.shape[1]))
    block, size = gguf.GGML_QUANT_SIZES[kind]
    assert cols % block == 0
    n = rows * cols // block
    if kind in (Q.F16, Q.BF16):
        values = rng.standard_normal(n, dtype=np.float32) * np.float32(0.022)
        data = values.astype(np.float16) if kind == Q.F16 else (values.view(np.uint32) >> 16).astype(np.uint16)
        return data.view(np.uint8).reshape(rows, -1)
    data = np.frombuffer(rng.bytes(n * size), np.uint8).reshape(n, size).copy()
    u = rng.random(n, dtype=np.float32) + np.float32(0.5)
    if kind == Q.Q4_K:
        data[:, 0:2] = half(u * 1e-4)
        data[:, 2:4] = half(u * 7e-4)
    elif kind == Q.Q6_K:
        data[:, 208:210] = half(u * 2e-5)
    elif kind == Q.Q8_0:
        data[:, 0:2] = half(u * 3e-4)
        quants = data[:, 2:]
        quants[quants == 0x80] = 0x81  # -128 is not what a quantiser writes
    elif kind == Q.Q4_0:
        data[:, 0:2] = half(u * 4.7e-3)
    return data.reshape(rows, cols // block * size)


def vocabulary(n):
    """n pieces with scores and types, as a SentencePiece BPE model has them."""
    space = "\u2581"
    letters = string.ascii_lowercase
    runs = ["".join(p) for k in (2, 3) for p in itertools.product(letters, repeat=k)]
    pieces = [space, *(c for c in map(chr, range(33, 127)))]
    pieces += [space + c for c in letters] + runs[: 26 * 26] + [space + r for r in runs[: 26 * 26]]
    pieces += runs[26 * 26 :] + [space + r for r in runs[26 * 26 :]]
    pieces += map("".join, itertools.islice(itertools.product(letters, repeat=4), max(0, n - len(pieces))))
    T = gguf.TokenType
    out = [(b"<unk>", 0.0, T.UNKNOWN), (b"<s>", 0.0, T.CONTROL), (b"</s>", 0.0, T.CONTROL)]
    out += [(f"<0x{b:02X}>".encode(), 0.0, T.BYTE) for b in range(256)]
    # single characters score lowest: longer pieces are made of them and merge first
    singles = [p for p in pieces if len(p) == 1]
    longer = [p for p in pieces if len(p) > 1][: n - len(out) - len(singles)]
    out += [(p.encode(), -float(i), T.NORMAL) for i, p in enumerate(longer + singles)]
    assert len(out) == n, f"only {len(out)} pieces for a vocabulary of {n}"
    return zip(*out)


def matrices(shape):
    """(tensor name, kind of matrix, layer, rows, cols) in file order."""
    n_layer, n_embd, n_head, n_kv, n_ff, n_vocab = shape
    head = n_embd // n_head
    yield "token_embd.weight", "token_embd", None, n_vocab, n_embd
    for i in range(n_layer):
        for name, rows, cols in (
            ("attn_norm", 0, n_embd), ("attn_q", n_embd, n_embd), ("attn_k", n_kv * head, n_embd),
            ("attn_v", n_kv * head, n_embd), ("attn_output", n_embd, n_embd), ("ffn_norm", 0, n_embd),
            ("ffn_gate", n_ff, n_embd), ("ffn_up", n_ff, n_embd), ("ffn_down", n_embd, n_ff)):
            yield f"blk.{i}.{name}.weight", name, i, rows, cols
    yield "output_norm.weight", "output_norm", None, 0, n_embd
    yield "output.weight", "output", None, n_vocab, n_embd


def main():
    ap = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    ap.add_argument("--shape", choices=SHAPES, default="1b")
    ap.add_argument("--type", choices=FILE_TYPE, default="q4_k_m")
    ap.add_argument("--seed", type=int, default=1)
    ap.add_argument("out")
    args = ap.parse_args()
    shape = SHAPES[args.shape]
    n_layer, n_embd, n_head, n_kv, n_ff, n_vocab = shape
    rng = np.random.default_rng(args.seed)

    w = gguf.GGUFWriter(args.out, "llama")
    w.add_name(f"random {args.shape} {args.type}")
    w.add_file_type(FILE_TYPE[args.type])
    w.add_quantization_version(2)
    w.add_block_count(n_layer)
    w.add_context_length(8192)
    w.add_embedding_length(n_embd)
    w.add_feed_forward_length(n_ff)
    w.add_head_count(n_head)
    w.add_head_count_kv(n_kv)
    w.add_layer_norm_rms_eps(1e-5)
    w.add_rope_dimension_count(n_embd // n_head)
    w.add_rope_freq_base(10000.0)
    w.add_vocab_size(n_vocab)
    pieces, scores, kinds = vocabulary(n_vocab)
    w.add_tokenizer_model("llama")
    w.add_token_list(list(pieces))
    w.add_token_scores(list(scores))
    w.add_token_types(list(kinds))
    w.add_unk_token_id(0)
    w.add_bos_token_id(1)
    w.add_eos_token_id(2)
    w.add_add_bos_token(True)
    w.add_add_eos_token(False)

    plan = []
    for name, what, layer, rows, cols in matrices(shape):
        kind = Q.F32 if not rows else type_of(args.type, what, layer, n_layer)
        block, size = gguf.GGML_QUANT_SIZES[kind]
        if rows:
            byte_shape = (rows, cols // block * size)
            w.add_tensor_info(name, byte_shape, np.dtype(np.uint8), rows * byte_shape[1], raw_dtype=kind)
        else:
            w.add_tensor_info(name, (cols,), np.dtype(np.float32), 4 * cols)
        plan.append((kind, rows, cols))
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_ti_data_to_file()
    for kind, rows, cols in plan:  # one tensor in memory at a time
        if rows:
            w.write_tensor_data(random_rows(rng, kind, rows, cols, REPEAT.get(args.shape)))
        else:
            w.write_tensor_data(1 + np.float32(0.1) * rng.standard_normal(cols, dtype=np.float32))
    w.close()


if __name__ == "__main__":
    main()
