#!/usr/bin/env python3
"""Byte-level BPE of 8,192 tokens, with GPT-2's pre-tokenizer, over the corpus and the questions.

    tokenizer.py --work DIR    reads DIR/train.txt and sft.jsonl, writes DIR/tokenizer.json
"""
import argparse
import json
import os

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from shape import SPECIAL, VOCAB


def texts(work):
    docs = open(os.path.join(work, "train.txt"), encoding="utf-8").read().split("\n\x1e\n")
    yield from (d[:20000] for d in docs[::3])
    rows = [json.loads(x) for x in open(os.path.join(work, "sft.jsonl"), encoding="utf-8")]
    yield from (r["q"] + "\n" + r["a"] for r in rows[::4] if "q" in r)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", required=True)
    a = ap.parse_args()
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    tok.train_from_iterator(texts(a.work), trainers.BpeTrainer(
        vocab_size=VOCAB, special_tokens=SPECIAL, initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), max_token_length=24, show_progress=False))
    tok.save(os.path.join(a.work, "tokenizer.json"))
    print(tok.get_vocab_size())


if __name__ == "__main__":
    main()
