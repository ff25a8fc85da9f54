#!/usr/bin/env python3
"""References for the real test models (scripts/fetch_test_models.py), made once by hand, committed in data/real-*.json.

    python make_real_refs.py --peer [MODEL...]   llama-cpp-python: token ids, its log probabilities and perplexity
    python make_real_refs.py --f32 [MODEL...]    torch + transformers + gguf: the truth, and the distance of the peer from it

Teacher forcing: for each text of text/prompts.txt the log probability of tokens 2..101 given those before them. The truth
is the file's own weights dequantised to float32, run by transformers in float32.
Perplexity: text/emma.txt (Jane Austen, Emma, 1816, first chapters; public domain) cut into independent chunks of 512
tokens, BOS first where the model wants one; every token but a chunk's first is scored, a tail of one token is dropped.
"""
import argparse
import json
import os
import sys

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
N_SCORED, CTX = 100, 512
MODELS = {"qwen2.5-coder-0.5b": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "gemma-3-270m": "gemma-3-270m-q4_k_m.gguf"}


def cache_dir():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("RF_TEST_MODELS") or os.path.join(home, "rocmforge-test-models")


def path_of(model):
    return os.path.join(HERE, "data", f"real-{model}.json")


def texts():
    return open(os.path.join(HERE, "text", "prompts.txt"), encoding="utf-8").read().rstrip("\n").split("\n%%\n")


def log_softmax(x):
    x = np.asarray(x, dtype=np.float64)
    x = x - x.max(axis=-1, keepdims=True)
    return x - np.log(np.exp(x).sum(axis=-1, keepdims=True))


def chunks(ids, bos):
    body = CTX - (bos is not None)
    head = [bos] if bos is not None else []
    out = [head + ids[i:i + body] for i in range(0, len(ids), body)]
    return [c for c in out if len(c) >= 2]


def score(forward, ids):
    """Log probability of each token but the first; forward: ids -> logits [n][vocab]"""
    lp = log_softmax(forward(ids)[:-1])
    return lp, lp[np.arange(len(ids) - 1), ids[1:]]


def perplexity(forward, all_chunks):
    nll, n = 0.0, 0
    for i, c in enumerate(all_chunks):
        _, got = score(forward, c)
        nll -= got.sum()
        n += len(got)
        print(f"  chunk {i + 1}/{len(all_chunks)}: {np.exp(nll / n):.4f}", flush=True)
    return float(np.exp(nll / n)), n


def save(model, ref):
    with open(path_of(model), "w") as f:
        json.dump(ref, f, separators=(",", ":"))
        f.write("\n")


def rounded(x):
    return [round(float(v), 6) for v in x]


def run_peer(model):
    import llama_cpp as L
    llm = L.Llama(os.path.join(cache_dir(), MODELS[model]), n_ctx=CTX, n_batch=CTX, logits_all=True, verbose=False, n_threads=1)

    def forward(ids):
        llm.reset()
        llm.eval(ids)
        return llm.scores[:len(ids)]

    probe = llm.tokenize(b"a", add_bos=True)
    bos = probe[0] if len(probe) > len(llm.tokenize(b"a", add_bos=False)) else None
    ref = {"model": MODELS[model], "peer": "llama-cpp-python " + L.__version__, "prompts": []}
    for t in texts():
        ids = ([bos] if bos is not None else []) + llm.tokenize(t.encode(), add_bos=False)
        assert len(ids) > N_SCORED, (len(ids), t[:40])
        ids = ids[:N_SCORED + 1]
        ref["prompts"].append({"ids": ids, "peer": rounded(score(forward, ids)[1])})
    ids = llm.tokenize(open(os.path.join(HERE, "text", "emma.txt"), "rb").read(), add_bos=False)
    ref["perplexity"] = {"text": "emma.txt", "ctx": CTX, "bos": bos, "ids": len(ids)}
    ref["perplexity"]["peer"], ref["perplexity"]["tokens"] = perplexity(forward, chunks(ids, bos))
    json.dump(ids, open(os.path.join("/tmp", f"emma-{model}.json"), "w"))
    save(model, ref)


def run_f32(model):
    import torch
    from transformers import AutoModelForCausalLM
    m = AutoModelForCausalLM.from_pretrained(cache_dir(), gguf_file=MODELS[model], dtype=torch.float32,
                                             attn_implementation="eager").eval()
    print(m.config, flush=True)

    def forward(ids):
        with torch.no_grad():
            return m(torch.tensor([ids]), use_cache=False).logits[0].numpy()

    ref = json.load(open(path_of(model)))
    diff = []
    for p in ref["prompts"]:
        lp, got = score(forward, p["ids"])
        order = np.sort(lp, axis=-1)
        p["f32"], p["best"], p["margin"] = rounded(got), [int(i) for i in lp.argmax(axis=-1)], \
            [round(float(v), 4) for v in order[:, -1] - order[:, -2]]
        diff.append(np.abs(np.array(p["peer"]) - got))
    diff = np.concatenate(diff)
    ref["peer_mae"], ref["peer_max"] = round(float(diff.mean()), 6), round(float(diff.max()), 6)
    print(model, "peer: mean", ref["peer_mae"], "max", ref["peer_max"], flush=True)
    save(model, ref)
    pp = ref["perplexity"]
    ids = json.load(open(os.path.join("/tmp", f"emma-{model}.json")))
    pp["f32"], n = perplexity(forward, chunks(ids, pp["bos"]))
    assert n == pp["tokens"]
    save(model, ref)


def main():
    ap = argparse.ArgumentParser()
    ap.add_argument("--peer", action="store_true")
    ap.add_argument("--f32", action="store_true")
    ap.add_argument("models", nargs="*", default=list(MODELS))
    a = ap.parse_args()
    for model in a.models or MODELS:
        if a.peer:
            run_peer(model)
        if a.f32:
            run_f32(model)


if __name__ == "__main__":
    sys.exit(main())
