#!/usr/bin/env python3
"""Questions and answers for tuning, from the hand-written tasks, the manual pages' own lines and a few lists.

    sft.py --work DIR    reads DIR/whatis.tsv and options.tsv (prepare.py) and data/; writes DIR/sft.jsonl: {"q", "a"} and {"system"} lines

A task is a line `command # what it does # request; request`, with further requests in data/more.txt. A request becomes a question by a frame (data/frames.txt) after some of its words were
exchanged (data/synonyms.txt). No question of data/heldout.tsv or data/dev.tsv comes out, compared without case and punctuation, nor one
with the same set of meaningful words.
"""
import argparse
import json
import os
import random
import re

HERE = os.path.dirname(os.path.abspath(__file__))
DATA = os.path.join(HERE, "data")
SMALL = set("a an the of to in on for and or is are be my me i it its this that with by from at do does did can could how what which who where when please "
            "command want need would like you your there have has am was should".split())
UNKNOWN = "I don't know that."
PER_TASK, PER_ASKED, PER_FACT, PER_WHATIS, PER_OPTION, UNKNOWNS, PER_EXPLAIN = 120, 14, 160, 18, 5, 30000, 5


def lines(name):
    with open(os.path.join(DATA, name), encoding="utf-8") as f:
        return [x.rstrip("\n") for x in f if x.strip() and not x.startswith("%")]


def plain(s):
    return " ".join(re.findall(r"[a-z0-9]+", s.lower()))


def content(s):
    """The set of words that matter, without endings: equal sets are the same question in other clothes."""
    return frozenset(re.sub(r"(ing|es|ed|s|e)$", "", w) for w in re.findall(r"[a-z0-9]+", s.lower()) if w not in SMALL)


def third(request):
    """list files -> lists files"""
    verb, _, rest = request.partition(" ")
    if verb.endswith(("s", "sh", "ch", "x", "z", "o")):
        verb += "es"
    elif re.search(r"[^aeiou]y$", verb):
        verb = verb[:-1] + "ies"
    else:
        verb += "s"
    return f"{verb} {rest}".strip()


def gerund(request):
    verb, _, rest = request.partition(" ")
    if verb.endswith("e") and not verb.endswith(("ee", "ye")):
        verb = verb[:-1]
    elif re.fullmatch(r"[^aeiou]*[aeiou][bdgmnprt]", verb):
        verb += verb[-1]
    return f"{verb}ing {rest}".strip()


class Maker:
    def __init__(self, seed):
        self.rng = random.Random(seed)
        self.frames = lines("frames.txt")
        self.synonyms = {}
        for line in lines("synonyms.txt"):
            k, v = line.split(": ")
            self.synonyms[k] = v.split(", ")
        self.pattern = re.compile(r"\b(" + "|".join(sorted(map(re.escape, self.synonyms), key=len, reverse=True)) + r")\b")
        self.held_content = {content(x.split("\t")[0]) for n in ("heldout.tsv", "dev.tsv") for x in lines(n)}
        self.held = {plain(x.split("\t")[0]) for n in ("heldout.tsv", "dev.tsv") for x in lines(n)}
        self.rows = []

    def exchange(self, request, rate):
        return self.pattern.sub(lambda m: self.rng.choice(self.synonyms[m.group()]) if self.rng.random() < rate else m.group(), request)

    def dress(self, q):
        """Capitals, marks and slips as people type them."""
        r = self.rng
        if r.random() < 0.6:
            q = q[0].upper() + q[1:]
        if r.random() < 0.3:
            q = q.rstrip("?.")
        if r.random() < 0.04 and len(q) > 12:
            i = r.randrange(4, len(q) - 2)
            q = q[:i] + r.choice(["", q[i] + q[i], q[i + 1] + q[i]]) + q[i + (2 if r.random() < 0.5 else 1):]
        return q

    def shorten(self, q):
        """One question in six loses a word: no single word may carry the meaning."""
        words = q.split()
        if len(words) > 4 and self.rng.random() < 0.17:
            del words[self.rng.randrange(len(words))]
        return " ".join(words)

    def lead(self, q):
        r = self.rng.random()
        if r < 0.10:
            q = self.rng.choice(("please: ", "hi, ", "hello, ", "hey, ", "ok, ", "question: ", "so, ", "tell me, ", "say, ", "I wonder: ", "well, ", "a question: ")) + q
        elif r < 0.22:
            q = q.rstrip("?.") + self.rng.choice((", please", ", how?", "?", ", what do I type?", ", which command?", " on Linux?", " in the shell", ", any idea?", ", command?", ", can you help?"))
        elif r < 0.30:
            q = self.rng.choice(("command for this: ", "which command: ", "how: ", "linux: ", "shell: ", "what do I type: ", "what to do: ", "I need this: ", "problem: ")) + q
        return q

    def add(self, q, a):
        if plain(q) not in self.held and content(q) not in self.held_content:
            self.rows.append({"q": q, "a": a})
            return True
        return False

    def ask(self, requests, answer, n):
        """`n` questions from the requests, each dressed another way; one that begins with ? is a whole question."""
        for _ in range(n):
            p = self.rng.choice(requests)
            if p.startswith("?"):
                self.add(self.dress(self.exchange(p[1:].strip(), 0.15)), answer)
                continue
            p = self.exchange(p, self.rng.choice((0, 0.15, 0.35)))
            frame = "{p}" if p.startswith("let me ") else self.rng.choice(self.frames)
            self.add(self.dress(frame.replace("{p}", p).replace("{P}", third(p)).replace("{g}", gerund(p))), answer)

    # ---- kinds ----
    def tasks(self):
        extra = {}
        for line in lines("rephrased.tsv"):
            request, text = line.split("\t")
            extra.setdefault(request, []).append(text)
        more = dict(x.split(" # ") for x in lines("more.txt"))
        asked = dict(x.split(" # ") for x in lines("asked.txt"))
        for name in ("tasks.txt", "rocmforge.txt"):
            for line in lines(name):
                command, what, first = line.split(" # ")
                requests = [x.strip() for x in (first + ";" + more.get(command, "")).split(";") if x.strip()]
                answer = f"Use `{command}`. {what}"
                self.ask(requests, answer, PER_TASK)
                for text in [x.strip() for x in asked.get(command, "").split(";") if x.strip()]:
                    for _ in range(PER_ASKED):
                        self.add(self.dress(self.lead(self.shorten(self.exchange(text, self.rng.choice((0, 0.1, 0.25)))))), answer)
                for text in [t for p in requests for t in extra.get(p, [])]:
                    self.add(self.dress(text), answer)
                    self.add(self.dress(text[0].lower() + text[1:]), answer)
                for q in self.rng.sample(["what does `{}` do?", "what does {} do?", "explain `{}`", "explain {}", "what is `{}`?", "what is `{}` for?", "what happens with {}?",
                                          "what does the command `{}` do?", "tell me about `{}`", "meaning of `{}`", "when do I use `{}`?", "why would I type {}?"], PER_EXPLAIN):
                    self.add(self.dress(q.format(command)), what)

    def facts(self):
        for line in lines("facts.txt"):
            answer, questions = [x.strip() for x in line.split(" # ")]
            questions = [q.strip() for q in questions.split(";")]
            for _ in range(PER_FACT):
                q = self.rng.choice(questions)
                if self.rng.random() < 0.15:
                    q = self.rng.choice(("please tell me, ", "tell me: ", "hello, ", "say, ", "I wonder, ")) + q
                self.add(self.dress(self.exchange(q, 0.1)), answer)

    def whatis(self, path):
        packages = set(" ".join(lines("whatis-packages.txt")).split())
        said, asks = set(), lines("whatis-frames.txt")
        for line in open(path, encoding="utf-8"):
            name, section, text, package = line.rstrip("\n").split("\t")
            if section not in "18" or package not in packages or name in said or not 8 < len(text) < 110 or not re.fullmatch(r"[a-z0-9][\w.+-]*", name):
                continue
            said.add(name)
            text = text.rstrip(".")
            answer = f"The manual page of `{name}` says: {text}."
            for q in self.rng.sample(asks, PER_WHATIS):
                self.add(self.dress(q.format(name)), answer)
            if re.match(r"[a-z]+ ", text) and not re.match(r"(a|an|the|utility|tool|program|command|gnu|interface|front|command-line)\b", text):
                for _ in range(3):
                    p = self.rng.choice(("which command can {}?", "what program is there to {}?", "what is the tool to {}?", "{}: which program?")).format(text)
                    self.add(self.dress(p), f"Try `{name}`. Its manual page says: {text}.")
        return said

    def options(self, path):
        wanted = set(" ".join(lines("option-commands.txt")).split())
        for line in open(path, encoding="utf-8"):
            name, option, text = line.rstrip("\n").split("\t")
            if name not in wanted or not re.fullmatch(r"-[-\w]*[A-Za-z0-9](?:, --?[\w-]+)*(?:[=\[ ][\w=\[\]]*)?", option):
                continue
            text = re.split(r"(?<=[a-z)])[.;:] ", text)[0].rstrip(".")
            if not 10 < len(text) < 120 or text.startswith("or "):
                continue
            spelled = re.findall(r"--?[A-Za-z0-9][\w-]*", option)
            for one in spelled[:2]:
                for q in self.rng.sample(["what does the option {o} of {n} do?", "what does {n} {o} do?", "what does {o} do in {n}?", "what is {o} in {n}?", "{n} {o}", "explain {n} {o}",
                                          "what does {o} mean for {n}?", "what is the meaning of {o} in {n}?", "what does `{n} {o}` do?", "which effect has {o} on {n}?"], PER_OPTION):
                    self.add(self.dress(q.format(o=one, n=name)), f"The option `{one}` of `{name}`: {text}.")

    def unknown(self, known):
        """Questions that commands cannot answer, and commands that do not exist."""
        lists = {}
        for line in lines("unknown-words.txt"):
            k, v = line.split(": ", 1)
            lists[k] = v.split(", ")
        frames = lines("unknown.txt")
        syllables = [c + v for c in "bdfgklmnprstvwz" for v in "aeiou"] + ["x", "ctl", "mk", "ls", "gr", "sh", "th", "qu", "nk", "rt", "st"]
        asks = lines("whatis-frames.txt")
        for k in range(UNKNOWNS):
            if k % 4 == 0:
                name = "".join(self.rng.choice(syllables) for _ in range(self.rng.randint(2, 4)))
                if name in known:
                    continue
                q = self.rng.choice(asks).format(name)
            else:
                q = self.rng.choice(frames)
                while "{" in q:
                    q = re.sub(r"\{(\w+)\}", lambda m: self.rng.choice(lists[m.group(1)]), q, count=1)
            self.add(self.dress(q), UNKNOWN)


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", required=True)
    a = ap.parse_args()
    m = Maker(20261122)
    counts = {}
    for kind in ("tasks", "facts", "whatis", "options", "unknown"):
        before = len(m.rows)
        if kind == "whatis":
            known = m.whatis(os.path.join(a.work, "whatis.tsv"))
        elif kind == "options":
            m.options(os.path.join(a.work, "options.tsv"))
        elif kind == "unknown":
            m.unknown(known)
        else:
            getattr(m, kind)()
        counts[kind] = len(m.rows) - before
    m.rng.shuffle(m.rows)
    with open(os.path.join(a.work, "sft.jsonl"), "w", encoding="utf-8") as out:
        out.writelines(json.dumps(r, ensure_ascii=False) + "\n" for r in m.rows)
        out.writelines(json.dumps({"system": s}) + "\n" for s in lines("systems.txt"))
    print(counts, "answers:", len({r["a"] for r in m.rows}))


if __name__ == "__main__":
    main()
