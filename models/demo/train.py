#!/usr/bin/env python3
"""Trains the model that ships: pretraining on the corpus, then tuning on questions and answers.

    train.py --data DIR --out OUT [--pretrain-seconds S] [--sft-seconds S] [--init weights.npz] [--tiny]

DIR holds tokenizer.json, train.txt(.xz), valid.txt(.xz), sft.jsonl(.xz), dev.tsv and heldout.tsv. One GPU with bf16, else the CPU in float32 (the same steps, many times slower).
Stages end by the clock; the learning rate follows the clock too, so that a slower machine does fewer steps and still ends well. Seeds are fixed; two runs on one
machine differ only by where the clock stops them and by the GPU's own order of sums.

OUT gets weights-N.npz (float16, each under 15 MB), log.jsonl and answers.jsonl (greedy answers to dev and held-out questions).
"""
import argparse
import json
import lzma
import math
import multiprocessing
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

from shape import ASSISTANT, CTX, DIM, END, EOT, EPS, FFN, HEADS, KV_HEADS, LAYERS, SYSTEM, THETA, USER, VOCAB

SEED = 20261122
EPOCHS = 16  # different packings of the questions; more epochs than that begin again
WORLD = {}   # what pack() reads, handed to its processes by fork
MATRICES = ("wq", "wk", "wv", "wo", "gate", "up", "down")


def rope_table(ctx, head, device):
    f = THETA ** (-torch.arange(0, head, 2, device=device).float() / head)
    a = torch.arange(ctx, device=device).float()[:, None] * f[None]
    return a.cos()[:, None], a.sin()[:, None]


def rope(x, cos, sin):
    """Neighbouring pairs turn together: the order that GGUF's llama architecture stores."""
    a, b = x.float().unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2).to(x.dtype)


class Layer(torch.nn.Module):
    def __init__(self, c):
        super().__init__()
        d, kv = c["dim"], c["dim"] // c["heads"] * c["kv_heads"]
        self.c = c
        shapes = {"wq": (d, d), "wk": (kv, d), "wv": (kv, d), "wo": (d, d), "gate": (c["ffn"], d), "up": (c["ffn"], d), "down": (d, c["ffn"])}
        for name, (o, i) in shapes.items():
            w = torch.randn(o, i) * (0.5 / math.sqrt(i))
            if name in ("wo", "down"):
                w /= math.sqrt(2 * c["layers"])
            self.register_parameter(name, torch.nn.Parameter(w))
        self.norm1 = torch.nn.Parameter(torch.ones(d))
        self.norm2 = torch.nn.Parameter(torch.ones(d))

    def forward(self, x, cos, sin):
        b, t, d = x.shape
        c, h = self.c, F.rms_norm(x, (d,), self.norm1.to(x.dtype), EPS)
        q = rope(F.linear(h, self.wq.to(x.dtype)).view(b, t, c["heads"], -1), cos[:t], sin[:t]).transpose(1, 2)
        k = rope(F.linear(h, self.wk.to(x.dtype)).view(b, t, c["kv_heads"], -1), cos[:t], sin[:t]).transpose(1, 2)
        v = F.linear(h, self.wv.to(x.dtype)).view(b, t, c["kv_heads"], -1).transpose(1, 2)
        r = c["heads"] // c["kv_heads"]
        o = F.scaled_dot_product_attention(q, k.repeat_interleave(r, 1), v.repeat_interleave(r, 1), is_causal=True)
        x = x + F.linear(o.transpose(1, 2).reshape(b, t, d), self.wo.to(x.dtype))
        h = F.rms_norm(x, (d,), self.norm2.to(x.dtype), EPS)
        return x + F.linear(F.silu(F.linear(h, self.gate.to(x.dtype))) * F.linear(h, self.up.to(x.dtype)), self.down.to(x.dtype))


class Model(torch.nn.Module):
    def __init__(self, c, device, dtype):
        super().__init__()
        self.c, self.dtype = c, dtype
        self.embed = torch.nn.Parameter(torch.randn(c["vocab"], c["dim"]) * 0.02)
        self.layers = torch.nn.ModuleList(Layer(c) for _ in range(c["layers"]))
        self.norm = torch.nn.Parameter(torch.ones(c["dim"]))
        cos, sin = rope_table(c["ctx"], c["dim"] // c["heads"], device)
        self.register_buffer("cos", cos, persistent=False)
        self.register_buffer("sin", sin, persistent=False)

    def hidden(self, ids):
        x = F.embedding(ids, self.embed).to(self.dtype)
        for layer in self.layers:
            x = layer(x, self.cos, self.sin)
        return F.rms_norm(x, (x.shape[-1],), self.norm.to(x.dtype), EPS)

    def forward(self, ids, targets):
        logits = F.linear(self.hidden(ids), self.embed.to(self.dtype)).float()
        return F.cross_entropy(logits.flatten(0, 1), targets.flatten(), ignore_index=-1)

    def next_logits(self, ids, last):
        h = self.hidden(ids)
        return F.linear(h[torch.arange(len(ids), device=ids.device), last], self.embed.to(self.dtype)).float()


class Muon:
    """Momentum whose matrix updates are made orthogonal by five Newton-Schulz steps (Jordan et al. 2024); matrices of one shape go together."""

    def __init__(self, params, lr, momentum=0.95, decay=0.05):
        self.lr, self.momentum, self.decay, self.scale = lr, momentum, decay, 1.0
        by_shape = {}
        for p in params:
            by_shape.setdefault(tuple(p.shape), []).append(p)
        self.groups = [(ps, torch.zeros((len(ps),) + s, device=ps[0].device)) for s, ps in by_shape.items()]

    @torch.no_grad()
    def step(self):
        for ps, buf in self.groups:
            g = torch.stack([p.grad for p in ps])
            buf.lerp_(g, 1 - self.momentum)
            x = g.lerp(buf, self.momentum).to(torch.bfloat16 if g.is_cuda else torch.float32)
            tall = x.shape[1] > x.shape[2]
            x = x.mT if tall else x
            x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
            for _ in range(5):
                a = x @ x.mT
                x = 3.4445 * x + (-4.7750 * a + 2.0315 * a @ a) @ x
            x = (x.mT if tall else x).float()
            size = max(1.0, ps[0].shape[0] / ps[0].shape[1]) ** 0.5
            lr = self.lr * self.scale
            for p, u in zip(ps, x):
                p.mul_(1 - lr * self.decay).add_(u, alpha=-lr * size)


def read(path):
    if os.path.exists(path):
        return open(path, encoding="utf-8").read()
    return lzma.open(path + ".xz", "rt", encoding="utf-8").read()


def corpus_tokens(tok, path):
    docs = read(path).split("\n\x1e\n")
    out = []
    for i in range(0, len(docs), 2000):
        for e in tok.encode_batch(docs[i:i + 2000], add_special_tokens=False):
            out.append(np.array([EOT] + e.ids, np.uint16))
    return np.concatenate(out), sum(len(d.encode()) for d in docs)


def turn_tokens(tok, rows):
    """-> lists of (question ids, answer ids), each with its marks"""
    q = tok.encode_batch([r["q"] for r in rows], add_special_tokens=False)
    answers = sorted({r["a"] for r in rows})
    a = {t: e.ids for t, e in zip(answers, tok.encode_batch(answers, add_special_tokens=False))}
    return [([USER] + e.ids + [END, ASSISTANT], a[r["a"]] + [END]) for e, r in zip(q, rows)]


def pack(job):
    """Conversations of 1 to 8 turns drawn from all turns, each once, laid end to end and cut into rows. -> ids, targets (-1: no loss)"""
    seed, length = job
    turns, systems = WORLD["turns"], WORLD["systems"]
    rng = np.random.default_rng(seed)
    parts, marks = [], []
    order = rng.permutation(len(turns))
    at = 0
    while at < len(order):
        head = [EOT]
        if rng.random() < 0.12:
            head += [SYSTEM] + systems[rng.integers(len(systems))] + [END]
        parts.append(head)
        marks.append((len(head), 0))
        n = 1 if rng.random() < 0.5 else int(rng.integers(2, 9))
        for k in order[at:at + n]:
            parts += turns[k]
            marks.append((len(turns[k][0]), len(turns[k][1])))
        at += n
    ids = np.concatenate([np.asarray(p, np.int16) for p in parts])
    learn = np.repeat(np.tile([False, True], len(marks)), np.array(marks).ravel())
    y = np.where(learn, ids, np.int16(-1))
    n = (len(ids) - 1) // length
    return ids[:n * length].reshape(n, length), y[1:n * length + 1].reshape(n, length)


class Trainer:
    def __init__(self, model, cfg, device, log):
        self.model, self.device, self.log, self.cfg = model, device, log, cfg
        matrices = [getattr(l, n) for l in model.layers for n in MATRICES]
        rest = [model.embed, model.norm] + [p for l in model.layers for p in (l.norm1, l.norm2)]
        self.muon = Muon(matrices, 0.02)
        self.adam = torch.optim.AdamW(rest, lr=3e-3, betas=(0.9, 0.95), weight_decay=0.0, fused=device == "cuda")
        self.loss = torch.compile(model) if device == "cuda" else model
        self.steps = 0

    def stage(self, name, batches, seconds, lr, warm):
        start = time.time()
        total, count, t = torch.zeros((), device=self.device), 0, 0.0
        for ids, targets in batches:
            t = (time.time() - start) / seconds
            if t >= 1:
                break
            scale = lr * min(1.0, (count + 1) / warm) * (1.0 if t < 0.45 else max(0.0, (1 - t) / 0.55))
            self.muon.scale = scale
            for g in self.adam.param_groups:
                g["lr"] = 3e-3 * scale
            loss = self.loss(ids.to(self.device, non_blocking=True), targets.to(self.device, non_blocking=True))
            loss.backward()
            self.muon.step()
            self.adam.step()
            self.adam.zero_grad(set_to_none=True)
            for p in self.model.parameters():
                p.grad = None
            total += loss.detach()
            count += 1
            if count == 1 and self.device == "cuda":  # the clock starts when the kernels are compiled
                torch.cuda.synchronize()
                self.log(stage=name, compiled=round(time.time() - start, 1))
                start = time.time()
            if count % 100 == 0:
                self.log(stage=name, step=count, loss=round(total.item() / 100, 4), t=round(t, 3), seconds=round(time.time() - start, 1))
                if not total.item() / 100 < 8.5:
                    raise SystemExit("the loss does not fall: stopped")
                total.zero_()
        self.log(stage=name, steps=count, seconds=round(time.time() - start, 1))

    @torch.no_grad()
    def held_out(self, name, ids, targets):
        total, n = 0.0, 0
        b = self.cfg["batch"]
        for i in range(0, len(ids) - b + 1 if len(ids) >= b else len(ids), b):
            x, y = torch.from_numpy(ids[i:i + b]).to(self.device), torch.from_numpy(targets[i:i + b]).to(self.device)
            k = (y >= 0).sum().item()
            total += self.model(x, y).item() * k
            n += k
        self.log(held_out=name, loss=round(total / max(n, 1), 4), perplexity=round(math.exp(total / max(n, 1)), 3), tokens=n)

    @torch.no_grad()
    def answers(self, tok, questions, longest=90):
        """Greedy, all questions of one length class together, without a cache: the batch is small and the model too."""
        out = []
        for i in range(0, len(questions), 512):
            ids = [[EOT, USER] + tok.encode(q, add_special_tokens=False).ids + [END, ASSISTANT] for q in questions[i:i + 512]]
            start = torch.tensor([len(x) for x in ids], device=self.device)
            last = start.clone() - 1
            wide = torch.zeros(len(ids), max(map(len, ids)) + longest, dtype=torch.long, device=self.device)
            for k, x in enumerate(ids):
                wide[k, :len(x)] = torch.tensor(x)
            done = torch.zeros(len(ids), dtype=torch.bool, device=self.device)
            rows = torch.arange(len(ids), device=self.device)
            for _ in range(longest - 1):
                nxt = self.model.next_logits(wide[:, :int(last.max()) + 1], last).argmax(-1)
                last = torch.where(done, last, last + 1)
                wide[rows, last] = torch.where(done, wide[rows, last], nxt)
                done |= nxt == END
                if done.all():
                    break
            for k in range(len(ids)):
                out.append(tok.decode([t for t in wide[k, start[k]:last[k] + 1].tolist() if t > END]))
        return out


def text_batches(tokens, batch, ctx, rng):
    while True:
        shift = int(rng.integers(ctx))
        n = (len(tokens) - shift - 1) // ctx
        rows = rng.permutation(n)
        for i in range(0, n - batch + 1, batch):
            at = shift + rows[i:i + batch, None] * ctx + np.arange(ctx + 1)
            x = torch.from_numpy(tokens[at].astype(np.int64))
            yield x[:, :-1].contiguous(), x[:, 1:].contiguous()


def sft_batches(epochs, text, batch, ctx, rng, text_rows):
    """Rows of packed conversations, with a few rows of text so that the corpus is not forgotten."""
    texts = text_batches(text, text_rows, ctx, rng)
    step = batch - text_rows
    while True:
        for ids, targets in epochs:
            rows = rng.permutation(len(ids))
            for i in range(0, len(rows) - step + 1, step):
                x, y = ids[rows[i:i + step]].astype(np.int64), targets[rows[i:i + step]].astype(np.int64)
                spoil = (rng.random(x.shape, np.float32) < 0.03) & (y < 0) & (x > END)  # a word of a question may be anything
                x[spoil] = rng.integers(END + 1, VOCAB, int(spoil.sum()))
                tx, ty = next(texts)
                yield torch.cat((torch.from_numpy(x), tx)), torch.cat((torch.from_numpy(y), ty))


def save(model, out):
    arrays = {n: p.detach().float().cpu().numpy().astype(np.float16) for n, p in model.named_parameters()}
    part, size, k = {}, 0, 0
    for n, a in arrays.items():
        if part and size + a.nbytes > 15_000_000:
            np.savez(os.path.join(out, f"weights-{k}.npz"), **part)
            part, size, k = {}, 0, k + 1
        part[n] = a
        size += a.nbytes
    np.savez(os.path.join(out, f"weights-{k}.npz"), **part)


def load(model, path):
    with torch.no_grad():
        given = np.load(path)
        for n, p in model.named_parameters():
            if n in given:
                p.copy_(torch.from_numpy(given[n].astype(np.float32)))
            else:  # 8 bits a weight: what fits through a narrow door
                p.copy_(torch.from_numpy((given[n + ".q"].astype(np.float32) * given[n + ".s"].astype(np.float32)[..., None]).reshape(p.shape)))


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--data", required=True)
    ap.add_argument("--out", required=True)
    ap.add_argument("--pretrain-seconds", type=float, default=210)
    ap.add_argument("--sft-seconds", type=float, default=120)
    ap.add_argument("--sft-rate", type=float, default=0.35)
    ap.add_argument("--init", help="weights to begin with instead of pretraining (pack8.py makes such a file)")
    ap.add_argument("--tiny", action="store_true", help="a toy of the same shape, to try the script")
    a = ap.parse_args()
    from tokenizers import Tokenizer
    cfg = dict(dim=DIM, layers=LAYERS, heads=HEADS, kv_heads=KV_HEADS, ffn=FFN, vocab=VOCAB, ctx=CTX, batch=128)
    if a.tiny:
        cfg.update(dim=64, layers=2, heads=4, kv_heads=2, ffn=128, ctx=128, batch=8)
    device = "cuda" if torch.cuda.device_count() else "cpu"
    torch.manual_seed(SEED)
    rng = np.random.default_rng(SEED)
    os.makedirs(a.out, exist_ok=True)
    begin, log_file = time.time(), open(os.path.join(a.out, "log.jsonl"), "w")

    def log(**kw):
        line = json.dumps(dict(at=round(time.time() - begin, 1), **kw))
        print(line, flush=True)
        log_file.write(line + "\n")
        log_file.flush()

    tok = Tokenizer.from_file(os.path.join(a.data, "tokenizer.json"))
    train, train_bytes = corpus_tokens(tok, os.path.join(a.data, "train.txt"))
    valid, valid_bytes = corpus_tokens(tok, os.path.join(a.data, "valid.txt"))
    rows = [json.loads(x) for x in read(os.path.join(a.data, "sft.jsonl")).splitlines()]
    turns = turn_tokens(tok, [r for r in rows if "q" in r])
    WORLD.update(turns=turns, systems=[tok.encode(r["system"]).ids for r in rows if "system" in r])
    pool = multiprocessing.get_context("fork").Pool(min(EPOCHS, os.cpu_count()))  # before the first use of the GPU
    packing = pool.map_async(pack, [(SEED + k, cfg["ctx"]) for k in range(EPOCHS)])
    log(tokens=len(train), bytes_per_token=round(train_bytes / len(train), 3), valid_tokens=len(valid), turns=len(turns),
        turn_tokens=sum(len(q) + len(x) for q, x in turns), device=torch.cuda.get_device_name() if device == "cuda" else "cpu", torch=torch.__version__)

    model = Model(cfg, device, torch.bfloat16 if device == "cuda" else torch.float32).to(device)
    log(parameters=sum(p.numel() for p in model.parameters()))
    if a.init:
        load(model, a.init)
    trainer = Trainer(model, cfg, device, log)
    n = min((len(valid) - 1) // cfg["ctx"], 512 if device == "cuda" else 16)
    if n < 1:
        raise SystemExit(f"valid.txt: found {len(valid)} tokens, expected more than {cfg['ctx']}: give prepare.py more packages")
    vx, vy = valid[:n * cfg["ctx"]].reshape(n, -1).astype(np.int64), valid[1:n * cfg["ctx"] + 1].reshape(n, -1).astype(np.int64)
    if not a.init:
        trainer.stage("pretrain", text_batches(train, cfg["batch"], cfg["ctx"], rng), a.pretrain_seconds, 1.0, 60)
        trainer.held_out("text, pretrained", vx, vy)
    trainer.stage("sft", sft_batches(packing.get(), train, cfg["batch"], cfg["ctx"], rng, max(1, cfg["batch"] // 10)), a.sft_seconds, a.sft_rate, 30)
    pool.terminate()
    save(model, a.out)
    trainer.held_out("text, tuned", vx, vy)
    with open(os.path.join(a.out, "answers.jsonl"), "w") as out:
        for name in ("dev", "heldout"):
            questions = [x.split("\t")[0] for x in read(os.path.join(a.data, name + ".tsv")).splitlines()]
            if a.tiny:
                questions = questions[:4]
            for q, x in zip(questions, trainer.answers(tok, questions)):
                out.write(json.dumps({"set": name, "q": q, "a": x}) + "\n")
    log(done=True)


if __name__ == "__main__":
    main()
