#!/usr/bin/env python3
"""Our tokenizer next to PyPI `tokenizers` on one thread: throughput on a 1 MB English text, and time to load the vocabulary.

    bench/encode.py MODEL.gguf... [--text FILE] [--rounds 5] [--build build]

The other tokenizer is built from the same file's pieces and merges (tests/unit/text/test_tok.py); both must give the same ids, or
there is nothing to compare. Best of the rounds, run in turn. Without --text, English is made from the words of the repository's own
documentation, in seeded random order, so that words repeat as they do in prose.
"""
import argparse
import json
import os
import pathlib
import random
import re
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
os.environ["RAYON_NUM_THREADS"] = "1"
HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "tests/unit/text"))


def english(n=1_000_000):
    source = "\n".join(p.read_text() for p in sorted(HERE.parent.glob("docs/*.md")) + [HERE.parent / "README.md"])
    sentences = [s.strip() for s in re.split(r"(?<=[.:;])\s+", source) if len(s) > 20]
    rng, out, size = random.Random(1), [], 0
    while size < n:
        out.append(rng.choice(sentences) + rng.choice([" ", " ", "\n\n"]))
        size += len(out[-1])
    return "".join(out)[:n]


def main():
    p = argparse.ArgumentParser()
    p.add_argument("model", nargs="+", type=pathlib.Path)
    p.add_argument("--text", type=pathlib.Path)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    args = p.parse_args()
    import test_tok
    text = args.text.read_text() if args.text else english()
    cli = args.build / "tests/unit/text/tok_cli"
    print(f"{'model':40} {'MB/s':>8} {'theirs':>8} {'ratio':>6} {'load ms':>8}")
    for model in args.model:
        theirs = test_tok.from_gguf(model)
        theirs.encode_special_tokens = False
        want = theirs.encode(text, add_special_tokens=False).ids
        got = test_tok.ours(args.build, model, test_tok.PARSE, [text])[0]
        if want != got:
            sys.exit(f"{model}: the two do not give the same ids")
        mine, other, load = 0.0, 0.0, 1e9
        for _ in range(args.rounds):
            run = subprocess.run([cli, model, "bench"], input=text.encode(), capture_output=True, check=True)
            mine = max(mine, json.loads(run.stdout)["mb_per_s"])
            load = min(load, float(run.stderr.split()[1]))
            t0 = time.perf_counter()
            theirs.encode(text, add_special_tokens=False)
            other = max(other, len(text.encode()) / 1e6 / (time.perf_counter() - t0))
        print(f"{model.name:40} {mine:8.1f} {other:8.1f} {mine / other:6.2f} {load:8.1f}")


if __name__ == "__main__":
    main()
