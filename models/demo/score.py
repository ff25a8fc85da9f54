"""The scoring rule of the held-out questions (data/heldout.tsv, data/dev.tsv): question, kind, expected.

task     the first `code` of the answer equals the expected command, word for word; words in capitals (FILE, DIR, NAME) stand for any one word;
         ` || ` parts commands that are equally right
whatis   the answer begins as the manual page of that command was given: "The manual page of `X` says: " and the page's own line (data/whatis.tsv)
fact     the expected pattern is found in the answer
unknown  the answer is "I don't know that." and nothing else
An answer of the kinds task, whatis and fact that holds "I don't know" is wrong.
"""
import os
import re

DATA = os.path.join(os.path.dirname(os.path.abspath(__file__)), "data")


def questions(name):
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        return [tuple((x.rstrip("\n") + "\t\t").split("\t")[:3]) for x in f if x.strip()]


def whatis_lines():
    with open(os.path.join(DATA, "whatis.tsv"), encoding="utf-8") as f:
        return dict(x.rstrip("\n").split("\t") for x in f)


def same_command(got, want):
    g, w = got.split(), want.split()
    return len(g) == len(w) and all(a == b or (re.fullmatch(r"[A-Z]{2,}|[ABC]", b) and re.fullmatch(r"\S+", a)) for a, b in zip(g, w))


def right(answer, kind, expected, whatis):
    answer = answer.strip()
    if kind == "unknown":
        return answer == "I don't know that."
    if "I don't know" in answer:
        return False
    if kind == "task":
        code = re.search(r"`([^`]+)`", answer)
        return bool(code) and any(same_command(code.group(1), e) for e in expected.split(" || "))
    if kind == "whatis":
        return answer == f"The manual page of `{expected}` says: {whatis[expected]}."
    return bool(re.search(expected, answer))
