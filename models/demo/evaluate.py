#!/usr/bin/env python3
"""Asks a model the held-out questions through rocmforge serve, greedily, and scores the answers (score.py).

    evaluate.py --binary build/rocmforge [--model models/demo/rocmforge-demo.gguf] [--set heldout.tsv] [--limit N] [-v]
"""
import argparse
import collections
import concurrent.futures
import json
import os
import subprocess
import sys
import urllib.request

import score

HERE = os.path.dirname(os.path.abspath(__file__))


def ask(url, question):
    body = {"messages": [{"role": "user", "content": question}], "temperature": 0, "max_tokens": 90}
    req = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(req, timeout=600) as r:
        return json.load(r)["choices"][0]["message"]["content"]


class Server:
    """rocmforge serve on a free port, stopped at the end of the block."""

    def __init__(self, binary, model, *args):
        self.command = [binary, "serve", model, "--port", "0", *args]

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        for line in self.process.stdout:
            if line.startswith("ready: "):
                return line.split()[1]
        raise SystemExit("the server did not start: " + " ".join(self.command))

    def __exit__(self, *_):
        self.process.terminate()
        self.process.communicate()


def evaluate(url, questions, threads=32):
    """-> list of (question, kind, expected, answer, right)"""
    lines = score.whatis_lines()
    with concurrent.futures.ThreadPoolExecutor(threads) as pool:
        answers = pool.map(lambda q: ask(url, q[0]), questions)
        return [(*q, a, score.right(a, q[1], q[2], lines)) for q, a in zip(questions, answers)]


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--binary", required=True)
    ap.add_argument("--model", default=os.path.join(HERE, "rocmforge-demo.gguf"))
    ap.add_argument("--set", default="heldout.tsv")
    ap.add_argument("--limit", type=int)
    ap.add_argument("-v", "--verbose", action="store_true", help="print the wrong answers")
    a = ap.parse_args()
    with Server(a.binary, a.model) as url:
        rows = evaluate(url, score.questions(a.set)[:a.limit])
    total, good = collections.Counter(), collections.Counter()
    for question, kind, expected, answer, ok in rows:
        total[kind] += 1
        good[kind] += ok
        if a.verbose and not ok:
            print(f"{kind}: {question} [{expected}] -> {answer}")
    print(", ".join(f"{k} {good[k]}/{total[k]}" for k in total), f"- {sum(good.values())}/{len(rows)} right, {100 * sum(good.values()) / len(rows):.1f}%")


if __name__ == "__main__":
    sys.exit(main())
