#!/usr/bin/env python3
"""Processor time to load a tokenizer.json of many pieces, made here: letters as English has them, each piece but the bytes merged from two
earlier ones.

    bench/vocabulary.py [--pieces 150000] [--rounds 5] [--build build]
"""
import argparse
import json
import pathlib
import random
import re
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
BYTES = [chr(b if 33 <= b < 127 or 161 <= b < 173 or 174 <= b else 256 + sum(not (33 <= x < 127 or 161 <= x < 173 or 174 <= x) for x in range(b)))
         for b in range(256)]  # the letters that stand for bytes, as GPT-2 chose them


def vocabulary(n):
    r, pieces, merges = random.Random(1), sorted(BYTES), []
    known, plain = set(pieces), [p for p in pieces if p.isascii() and p.isalpha()] + ["\u0120"]
    while len(pieces) < n:
        a, b = plain[r.randrange(min(len(plain), 20_000))], plain[r.randrange(min(len(plain), 2_000))]
        if a + b not in known and len(a + b) < 13 and not b.startswith("\u0120"):
            known.add(a + b)
            pieces.append(a + b)
            plain.append(a + b)
            merges.append([a, b])
    part = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": False, "use_regex": True}
    model = {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": "", "end_of_word_suffix": "", "fuse_unk": False, "byte_fallback": False,
             "vocab": {t: i for i, t in enumerate(pieces)}, "merges": merges}
    return {"version": "1.0", "added_tokens": [], "normalizer": None, "pre_tokenizer": part, "post_processor": None, "decoder": part, "model": model}


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--pieces", type=int, default=150_000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--build", type=pathlib.Path, default=HERE.parent / "build")
    args = p.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        pathlib.Path(folder, "config.json").write_text('{"model_type": "llama"}')
        file = pathlib.Path(folder, "tokenizer.json")
        file.write_text(json.dumps(vocabulary(args.pieces), ensure_ascii=False, indent=2))
        took = []
        for _ in range(args.rounds):
            done = subprocess.run([args.build / "tests/unit/text/tok_cli", folder, "0"], input=b"", capture_output=True, check=True)
            took.append(float(re.search(rb"([0-9.]+) ms of processor time", done.stderr)[1]))
        print(f"{args.pieces} pieces, {file.stat().st_size / 1e6:.1f} MB: {sorted(took)[len(took) // 2]:.0f} ms of processor time (median), {min(took):.0f} to {max(took):.0f}")


if __name__ == "__main__":
    main()
