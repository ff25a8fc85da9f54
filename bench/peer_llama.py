#!/usr/bin/env python3
"""Measures llama-cpp-python the way `rocmforge bench` measures us, one JSON line on standard output.

    peer_llama.py MODEL [--pp 512] [--tg 128] [--batch 1,8] [--threads 2] [--reps 5]

pp: one batch of N tokens from an empty cache, logits of the last. tg: N steps of one token for each of B sequences from
an empty cache, all logits, no sampling. Token ids are the same arithmetic series for every engine: speed does not depend
on them. Runs through the low-level batch API, so that no Python loop over tokens other than filling the batch is timed.
"""
import argparse
import ctypes
import json
import statistics
import sys
import time

import llama_cpp as L


def fill(batch, items):
    """items: (token, position, sequence, wants logits)"""
    for i, (tok, pos, seq, out) in enumerate(items):
        batch.token[i] = tok
        batch.pos[i] = pos
        batch.n_seq_id[i] = 1
        batch.seq_id[i][0] = seq
        batch.logits[i] = out
    batch.n_tokens = len(items)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("model")
    ap.add_argument("--pp", type=int, default=512)
    ap.add_argument("--tg", type=int, default=128)
    ap.add_argument("--batch", default="1,8")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--reps", type=int, default=5)
    ap.add_argument("--verbose", action="store_true")
    ap.add_argument("--plain", action="store_true", help="no repacked and no AMX weight buffers")
    a = ap.parse_args()
    batches = [int(b) for b in a.batch.split(",")]

    log = []

    @L.llama_log_callback
    def on_log(_level, text, _user):
        log.append(text.decode("utf-8", "replace"))
        if a.verbose:
            sys.stderr.write(log[-1])

    L.llama_log_set(on_log, ctypes.c_void_p(0))
    L.llama_backend_init()
    mp = L.llama_model_default_params()
    if a.plain:
        mp.use_extra_bufts = False
    model = L.llama_model_load_from_file(a.model.encode(), mp)
    if not model:
        sys.exit("".join(log))
    def context(n_seq, n_tok):
        cp = L.llama_context_default_params()
        cp.n_batch = cp.n_ubatch = max(a.pp, 512)
        cp.n_seq_max = n_seq
        cp.n_ctx = n_seq * (n_tok + 255 & ~255)
        cp.n_threads = cp.n_threads_batch = a.threads
        ctx = L.llama_init_from_model(model, cp)
        if not ctx:
            sys.exit("".join(log))
        return ctx

    n_vocab = L.llama_vocab_n_tokens(L.llama_model_get_vocab(model))
    tok = lambda i: 100 + i * 37 % min(n_vocab - 100, 20000)
    batch = L.llama_batch_init(max(a.pp, 512), 0, 1)

    def pp(ctx, n):
        L.llama_memory_clear(L.llama_get_memory(ctx), True)
        fill(batch, [(tok(i), i, 0, i == n - 1) for i in range(n)])
        t = time.perf_counter()
        if L.llama_decode(ctx, batch):
            sys.exit("llama_decode failed")
        L.llama_synchronize(ctx)
        return n / (time.perf_counter() - t)

    def tg(ctx, n, b):
        L.llama_memory_clear(L.llama_get_memory(ctx), True)
        t = time.perf_counter()
        for i in range(n):
            fill(batch, [(tok(i + 7 * s), i, s, True) for s in range(b)])
            if L.llama_decode(ctx, batch):
                sys.exit("llama_decode failed")
            L.llama_synchronize(ctx)
        return n * b / (time.perf_counter() - t)

    rows = []
    tests = [("pp", a.pp, 1, pp)] if a.pp else []
    tests += [("tg", a.tg, b, lambda ctx, n, b=b: tg(ctx, n, b)) for b in batches] if a.tg else []
    for name, n, b, fn in tests:
        ctx = context(b, n)
        fn(ctx, n)
        got = [fn(ctx, n) for _ in range(a.reps)]
        L.llama_free(ctx)
        rows.append({"test": name, "n": n, "batch": b, "tokens_per_s": round(statistics.median(got), 2),
                     "stddev": round(statistics.pstdev(got), 2), "runs": [round(g, 2) for g in got]})
    info = L.llama_print_system_info().decode().strip()
    print(json.dumps({"rows": rows, "model": a.model.rsplit("/", 1)[-1], "engine": "llama-cpp-python " + L.__version__,
                      "system": info, "buffers": [s.strip() for s in "".join(log).splitlines() if "buffer size" in s]}))


if __name__ == "__main__":
    main()
