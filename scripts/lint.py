#!/usr/bin/env python3
"""Checks what a compiler does not: who includes whom, lengths, words that must not be committed. Prints file:line: what.

The doors are the table in docs/architecture.md, kept here in a form that can be checked; change both together.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# room: rooms whose headers it may include, besides its own. "abi" is include/rocmforge.h.
DOORS = {
    "base": "abi", "quant": "base", "format": "base quant abi", "text": "base format abi", "arch": "base",
    "backend": "base quant abi", "kv": "base", "sched": "base kv", "sample": "base text abi",
    "model": "base quant format arch backend abi", "engine": "base text format model backend kv sched sample abi",
    "registry": "base format arch abi", "serve": "base abi", "remote": "base abi", "cli": "base registry serve remote abi",
}
DOORS = {room: set(allowed.split()) for room, allowed in DOORS.items()}

MAX_FUNCTION, MAX_FILE = 120, 900
MAX_COLUMN = 180  # rows of tables; code and prose stay near 120
# Spelled in pieces, so that this file passes its own check.
WORDS = [("TO" + "DO", "unfinished work belongs in an issue"), ("FIX" + "ME", "unfinished work belongs in an issue"),
         (r"\bX" + r"XX\b", "unfinished work belongs in an issue"), (r"\bHA" + r"CK\b", "say what it is and why"),
         (r"(?<![\w.])/wo" + r"rk/", "a path of one machine"), ("/root" + "/", "a path of one machine"),
         (r"\bpy" + r"pi\.org|python" + r"hosted\.org|deb\.deb" + r"ian\.org|crates\.io|registry\.npm", "a registry's host")]
# Memory goes through base/mem.h, so that tests can make any allocation fail.
RAW_MEMORY = re.compile(r"(?<![\w.>])(malloc|calloc|realloc|strdup|strndup|asprintf|free)\s*\(")
RAW_MEMORY_OK = ("src/base/mem.c", "src/backend/gpu/emulator/")  # the emulator stands in for hardware: its memory is the card's
EXIT = re.compile(r"(?<![\w.>])(exit|abort|_exit)\s*\(")

TEXT = (".c", ".h", ".gpu", ".py", ".sh", ".build", ".md", ".txt", ".yml", ".json", ".mk", ".service")


def tracked():
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    return [p for p in out.stdout.splitlines() if os.path.isfile(os.path.join(ROOT, p))]


def read(path):
    with open(os.path.join(ROOT, path), encoding="utf-8", errors="replace") as f:
        return f.read()


def without_comments(text):
    """Same lines, comments and string contents blanked."""
    def blank(m):
        s = m.group(0)
        return '""' if s[0] == '"' else "".join(c if c == "\n" else " " for c in s) if s[0] == "/" else "' '"
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def check_doors(path, text):
    parts = path.split("/")
    if parts[0] != "src" or len(parts) < 3:
        return
    room = parts[1]
    if room not in DOORS:
        yield 1, f"room {room} has no row in the table of doors (scripts/lint.py, docs/architecture.md)"
        return
    for n, line in enumerate(text.splitlines(), 1):
        m = re.match(r'\s*#\s*include\s*"([^"]+)"', line)
        if not m:
            continue
        other = "abi" if m.group(1) == "rocmforge.h" else m.group(1).split("/")[0] if "/" in m.group(1) else room
        if other != room and other not in DOORS[room]:
            yield n, f"{room} may not include {m.group(1)}; its doors: {' '.join(sorted(DOORS[room]))}"


def check_lengths(path, text):
    lines = text.splitlines()
    if len(lines) > MAX_FILE:
        yield 1, f"{len(lines)} lines; {MAX_FILE} at most"
    start = None
    for n, line in enumerate(lines, 1):
        if len(line) > MAX_COLUMN:
            yield n, f"{len(line)} columns; {MAX_COLUMN} at most"
        if line == "{":
            start = n
        elif line == "}" and start:
            if n - start - 1 > MAX_FUNCTION:
                yield start, f"a function of {n - start - 1} lines; {MAX_FUNCTION} at most"
            start = None


def check_calls(path, text):
    if not path.startswith("src/"):
        return
    jansson = "json_" in text  # its json_dumps hands out the C library's memory
    for n, line in enumerate(without_comments(text).splitlines(), 1):
        if not path.startswith(RAW_MEMORY_OK) and (m := RAW_MEMORY.search(line)) and not (m.group(1) == "free" and jansson):
            yield n, f"{m.group(1)}: memory goes through base/mem.h"
        if not path.startswith(("src/cli/", "src/backend/gpu/emulator/")) and (m := EXIT.search(line)):
            yield n, f"{m.group(1)}: only cli ends the process"


def check_words(path, text):
    for n, line in enumerate(text.splitlines(), 1):
        for word, why in WORDS:
            if re.search(word, line):
                yield n, f"{re.search(word, line).group(0)!r}: {why}"


def main():
    bad = 0
    for path in tracked():
        if not path.endswith(TEXT) and os.path.basename(path) not in ("Makefile", "run"):
            continue
        text = read(path)
        checks = [check_words] if not path.startswith("tests/golden/") else []
        if path.endswith((".c", ".h", ".gpu")):
            checks += [check_doors, check_lengths, check_calls]
        for check in checks:
            for n, what in check(path, text):
                print(f"{path}:{n}: {what}")
                bad += 1
    print(f"lint: {bad} found" if bad else "lint: clean")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
