#!/usr/bin/env python3
"""The corpus: text of manual pages and documentation that Debian packages carry.

    prepare.py --work DIR [--packages data/packages.txt]

Downloads each package (apt-get download), unpacks it in memory, and writes under DIR:

    train.txt, valid.txt   documents, parted by a line of its own: 0x1e
    whatis.tsv             page, section, one line, package
    options.tsv            page, option, first sentence of its description
    licences.tsv           package, version, bytes of text used, licences named in its copyright file (data/sources.tsv is this table)

Manual pages go through mandoc (paragraphs come out as one line), HTML loses its tags, info files their menus. Whole documents and paragraphs that came before
are dropped. One document in a hundred, picked by the hash of its text, is held out. Same packages in, same bytes out.
"""
import argparse
import gzip
import hashlib
import html
import io
import multiprocessing
import os
import re
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
SEP = "\x1e"
PER_PACKAGE = 9_000_000  # bytes of text from one package
SECTIONS = {"1": 1 << 40, "8": 1 << 40, "5": 1 << 40, "7": 1 << 40, "2": 1_500_000, "3": 3_000_000}  # bytes by manual section
SKIP = re.compile(r"(changelog|copyright|news\.debian|authors|thanks|buildinfo|/test|/devicetree/|/Documentation/ABI|\.(png|jpe?g|svg|css|js|pdf|ps|gif|ico|woff2?|ttf|json|inv|xml|po|db|epub|c|h|cc|cpp|sh|pl)(\.gz)?$)", re.I)
FOREIGN = re.compile(r"/(?:[a-z]{2}(?:[-_][A-Za-z]{2,4})?)(?=/)|\.(?:[a-z]{2}(?:[-_][A-Z]{2})?)(?=\.(?:html|txt))")


def run(cmd, **kw):
    return subprocess.run(cmd, check=True, stdout=subprocess.PIPE, **kw).stdout


def page_text(raw):
    try:
        p = subprocess.run(["mandoc", "-T", "utf8", "-O", "indent=0,width=1000"], input=raw, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=20)
    except subprocess.TimeoutExpired:  # a page that mandoc never ends with: left out
        return ""
    text = re.sub(".\b", "", p.stdout.decode("utf-8", "replace"))
    lines = text.split("\n")[1:]
    while lines and not lines[-1].strip():
        lines.pop()
    return "\n".join(lines[:-1])  # without running head and foot


def html_text(s):
    s = re.sub(r"(?is)<(script|style|head|nav|footer)\b.*?</\1>", " ", s)
    s = re.sub(r"(?is)<pre\b[^>]*>(.*?)</pre>", lambda m: "\n\n" + re.sub(r"\n(?=.)", "\x1f", m.group(1).strip("\n")) + "\n\n", s)
    s = re.sub(r"(?i)<(/p|/div|/li|/tr|/h\d|/dt|/dd|br\s*/?|/title)\s*>", "\n", s)
    s = html.unescape(re.sub(r"(?s)<[^>]*>", "", re.sub(r"[ \t]*\n[ \t]*(?![<\n])(?=\S)", " ", s)))
    return s.replace("\x1f", "\n").replace("¶", "")


def info_text(s):
    out = []
    for node in s.split("\x1f"):
        node = re.sub(r"(?s)\n\* Menu:.*", "\n", node)
        if "Tag Table" in node[:30] or "Index" in node[:200].split("\n\n")[0]:
            continue
        out.append("\n".join(node.split("\n")[2:]))
    return "\n".join(out)


def tidy(s):
    """Few kinds of white space: indents halved to at most 8, two line ends at most, no lines of ornaments."""
    out = []
    for line in s.replace("\t", "    ").replace("\r", "").replace("\u2019", "'").replace("\u2018", "'").replace("\u2010", "-").replace("\u00a0", " ").split("\n"):
        body = line.strip()
        if len(body) > 6 and sum(c.isalpha() for c in body) * 3 < len(body):
            continue
        indent = len(line) - len(line.lstrip(" "))
        out.append(" " * min(indent // 4 * 2, 8) + re.sub(r" {3,}", "  ", body) if body else "")
    return re.sub(r"\n{3,}", "\n\n", "\n".join(out)).strip()


def rewrap(s):
    """Plain text documents: hard line ends inside a paragraph become blanks."""
    return re.sub(r"(?<=[a-z,;:)])\n(?=[a-zA-Z(`'])", " ", re.sub(r"\n[ ]{1,7}(?=[a-z])", "\n", s))


def english(s):
    return len(s) > 200 and sum(c < "\x7f" for c in s) > 0.985 * len(s) and len(re.findall(r"\b(?:the|of|to|and|is|a)\b", s)) > len(s) / 250


class Corpus:
    """All documents so far, and what each manual page says of its command."""

    def __init__(self):
        self.docs, self.paragraphs, self.whatis, self.options = [], set(), {}, {}
        self.by_section = dict.fromkeys(SECTIONS, 0)

    def add(self, text):
        kept = []
        for par in text.split("\n\n"):
            if len(par) >= 60:
                h = hashlib.blake2b(par.encode(), digest_size=8).digest()
                if h in self.paragraphs:
                    continue
                self.paragraphs.add(h)
            kept.append(par)
        text = "\n\n".join(kept)
        if len(text) < 200:
            return 0
        self.docs.append(text)
        return len(text.encode())

    def page(self, package, name, section, raw_text):
        m = re.search(r"(?m)^NAME\n(.*?)\n\n", raw_text, re.S)
        if m and section[0] in "158":
            m = re.match(r"\s*(\S.*?)\s+(?:-|–|—|\\-)+\s+(.*)", " ".join(m.group(1).split()))
            if m:
                self.whatis.setdefault((name, section[0]), (m.group(2), package))
        if section[0] in "18":
            for m in re.finditer(r"(?m)^ {4,8}(-[^\n]{1,60}?)(?:\n {10,}| {2,})([A-Z a-z][^\n]{12,})$", raw_text):
                self.options.setdefault((name, " ".join(m.group(1).split())), m.group(2).strip())
        text = tidy(raw_text)
        if not english(text) or self.by_section[section[0]] > SECTIONS[section[0]]:
            return 0
        n = self.add(f"{name}({section})\n\n{text}")
        self.by_section[section[0]] += n
        return n


def member_text(path, raw):
    if path.endswith(".gz"):
        try:
            raw = gzip.decompress(raw)
        except (OSError, EOFError):
            return ""
    if b"\0" in raw[:1000]:
        return ""
    s = raw.decode("utf-8", "replace")
    if "/share/info/" in path:
        return tidy(rewrap(info_text(s)))
    if re.search(r"\.x?html?(\.gz)?$", path):
        return tidy(html_text(s))
    return tidy(rewrap(s))


def package(deb):
    """-> name, version, licences, documents: texts, and (page name, section, text) for manual pages"""
    name, version = run(["dpkg-deb", "-W", "--showformat=${Package} ${Version}", deb]).decode().split()
    tar = tarfile.open(fileobj=io.BytesIO(run(["dpkg-deb", "--fsys-tarfile", deb])))
    used, licences, docs = 0, [], []
    for m in sorted((m for m in tar.getmembers() if m.isfile()), key=lambda m: m.name):
        path = m.name.lstrip(".")
        if re.search(r"/share/doc/[^/]+/copyright$", path):
            licences = re.findall(r"(?m)^License:[ \t]*(\S[^\n]{0,60})", tar.extractfile(m).read().decode("utf-8", "replace"))
        if used > PER_PACKAGE or m.size > 1_500_000:
            continue
        man = re.search(r"/share/man/man(\d)/(.+?)\.(\d\w*)(\.gz)?$", path)
        if man and man.group(1) in SECTIONS:
            raw = tar.extractfile(m).read()
            raw = gzip.decompress(raw) if path.endswith(".gz") else raw
            if not raw.startswith(b".so") and len(raw) < 600_000:
                docs.append((man.group(2), man.group(3), page_text(raw)))
                used += len(docs[-1][2])
        elif path.startswith(("/usr/share/doc/", "/usr/share/info/")) and not SKIP.search(path):
            where = FOREIGN.search(path[15:])
            if where and not re.search(r"en|[-_.]US|/(?:rc|ex|io|os|db|fs|mm|vm|s3|qt|ui|cl|go|id|md)\b", where.group()):
                continue
            text = member_text(path, tar.extractfile(m).read())
            if english(text):
                docs.append(text)
                used += len(text)
    return name, version, sorted({x.strip() for x in licences}), docs


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--work", required=True)
    ap.add_argument("--packages", default=os.path.join(HERE, "data", "packages.txt"))
    a = ap.parse_args()
    debs = os.path.join(a.work, "deb")
    os.makedirs(debs, exist_ok=True)
    names = open(a.packages).read().split()
    have = {f.split("_")[0] for f in os.listdir(debs)}
    want = [n for n in names if n not in have]
    if want:
        run(["apt-get", "download", "-qq"] + want, cwd=debs)
    corpus, rows = Corpus(), []
    paths = [os.path.join(debs, f) for f in sorted(os.listdir(debs)) if f.split("_")[0] in names]
    with multiprocessing.Pool() as pool:
        for name, version, licences, docs in pool.imap(package, paths):
            used = sum(corpus.add(d) if isinstance(d, str) else corpus.page(name, *d) for d in docs)
            rows.append((name, version, used, licences))
            print(f"{name}: {used}", file=sys.stderr)
    order = sorted(corpus.docs, key=lambda d: hashlib.blake2b(d.encode(), digest_size=8).digest())
    held = [d for d in order if hashlib.blake2b(d.encode(), digest_size=1).digest()[0] < 2 and len(d) < 40_000]
    kept = set(map(id, held))
    for path, docs in (("valid.txt", held), ("train.txt", [d for d in order if id(d) not in kept])):
        with open(os.path.join(a.work, path), "w") as out:
            out.write(f"\n{SEP}\n".join(docs))
    with open(os.path.join(a.work, "whatis.tsv"), "w") as out:
        out.writelines(f"{n}\t{s}\t{t}\t{p}\n" for (n, s), (t, p) in sorted(corpus.whatis.items()))
    with open(os.path.join(a.work, "options.tsv"), "w") as out:
        out.writelines(f"{n}\t{o}\t{t}\n" for (n, o), t in sorted(corpus.options.items()))
    with open(os.path.join(a.work, "licences.tsv"), "w") as out:
        out.writelines(f"{n}\t{v}\t{u}\t{', '.join(x)}\n" for n, v, u, x in sorted(rows) if u)


if __name__ == "__main__":
    main()
