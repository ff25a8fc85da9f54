#!/usr/bin/env python3
"""Further wordings of the hand-written requests, asked of Qwen2.5-Coder 0.5B through our own server.

    rephrase.py --url http://127.0.0.1:8080 --out data/rephrased.tsv data/tasks.txt...

One request a task, each with a seed of its own, so that the same model file on the same kernels writes the same lines. A line is kept when it is short, shares a word with
the request, and is no copy. Written to OUT as: request, tab, wording.
"""
import argparse
import concurrent.futures
import json
import re
import sys
import urllib.request

SMALL = set("a an the of to in on for and or is are be my me i it its this that with by from as at all how do does can what which command file files".split())
PROMPT = ('Rewrite this request in 6 different ways, each short and in plain words, keeping its meaning. One per line, no numbers, no explanations, no commands.\n'
          'Request: {}')


def ask(url, text, seed):
    body = {"messages": [{"role": "user", "content": PROMPT.format(text)}], "max_tokens": 110, "temperature": 0.8, "top_p": 0.95, "seed": seed}
    req = urllib.request.Request(url + "/v1/chat/completions", json.dumps(body).encode(), {"Content-Type": "application/json"})
    with urllib.request.urlopen(req, timeout=3000) as r:
        return json.load(r)["choices"][0]["message"]["content"]


def words(s):
    return {re.sub(r"(ing|es|s|ed)$", "", w) for w in re.findall(r"[a-z0-9]+", s.lower())} - SMALL


def keep(request, line):
    line = re.sub(r"^[\s\d.)*\-\"'`]+|[\"'`*\s]+$", "", line)
    n = len(line.split())
    if not 2 <= n <= 14 or line.lower().rstrip(".?") == request.lower() or re.search(r"[`{}<>|$]|request|rewrite|sure|certainly|here are", line, re.I):
        return None
    a, b = words(request), words(line)
    return line if len(a & b) * 2 >= len(a) and len(b - a) <= 4 else None


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--url", default="http://127.0.0.1:8080")
    ap.add_argument("--out", required=True)
    ap.add_argument("tasks", nargs="+")
    a = ap.parse_args()
    requests = []
    for path in a.tasks:
        for line in open(path):
            if line.strip() and not line.startswith("%"):
                requests += [p.strip() for p in line.split(" # ")[2].split(";")][:2]
    with concurrent.futures.ThreadPoolExecutor(32) as pool, open(a.out, "w") as out:
        for request, text in zip(requests, pool.map(lambda r: ask(a.url, r[1], r[0]), enumerate(requests))):
            lines = dict.fromkeys(filter(None, (keep(request, x) for x in text.split("\n"))))
            out.writelines(f"{request}\t{x}\n" for x in lines)
            out.flush()
    print(f"{len(requests)} requests", file=sys.stderr)


if __name__ == "__main__":
    main()
