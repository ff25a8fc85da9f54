#!/usr/bin/env python3
"""Writes docs/commands/*.md from what the program says of itself: one page per command. Run it after an option changed.

    scripts/command_pages.py [PROGRAM]        default build/rocmforge; with --check only says which pages are stale
"""
import os
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[1]
MORE = {"run": "[Conversations](../terminal.md)", "serve": "[The API with curl](../api.md), [operations](../operations.md), [the page](../web.md)",
        "config": "[Settings](../settings.md)", "doctor": "[Questions and errors](../faq.md)", "completion": "[Conversations and shells](../terminal.md)"}


def say(program, *args):
    env = {k: v for k, v in os.environ.items() if not k.startswith("ROCMFORGE_")}
    return subprocess.run([program, *args], capture_output=True, text=True, check=True, env=env).stdout


def pages(program):
    """{file name: text}"""
    commands = re.findall(r"^  ([a-z]+) .*?  +(.*)$", say(program, "--help"), re.M)
    out = {"README.md": "# Commands\n\nOne page each, written by `scripts/command_pages.py` from the program's own `--help`.\n\n| command | what |\n| --- | --- |\n" +
           "".join(f"| [{name}]({name}.md) | {what} |\n" for name, what in commands)}
    for name, what in commands:
        text = say(program, name, "--help").rstrip("\n")
        more = f"\nMore: {MORE[name]}.\n" if name in MORE else ""
        out[f"{name}.md"] = f"# rocmforge {name}\n\n{what[0].upper()}{what[1:]}.\n\n```text\n{text}\n```\n{more}"
    return out


def main():
    args = [a for a in sys.argv[1:] if a != "--check"]
    folder, stale = ROOT / "docs/commands", []
    for name, text in pages(args[0] if args else str(ROOT / "build/rocmforge")).items():
        path = folder / name
        if path.exists() and path.read_text() == text:
            continue
        stale.append(name)
        if "--check" not in sys.argv:
            folder.mkdir(exist_ok=True)
            path.write_text(text)
    if stale:
        print(("stale: " if "--check" in sys.argv else "written: ") + ", ".join(stale))
    return 1 if stale and "--check" in sys.argv else 0


if __name__ == "__main__":
    sys.exit(main())
