#!/usr/bin/env python3
"""Our speed next to llama-cpp-python's: same machine, same file, interleaved runs, medians of 5.

    bench/peers.py MODEL... [--pp 512] [--tg 128] [--batch 1,8] [--threads 2] [--rounds 5] [--build build] [--peer-python python3]

One round runs each engine once (each in a process of its own, with a warm-up inside), in turn, so that what the neighbours
of this machine do hits both. Prints a table and writes bench/results/MODEL.json with every round.

--peer-python is a Python that has llama-cpp-python (built from source: prebuilt wheels lack the machine's instructions).
Built by gcc 12 on a machine with AMX it dies with an illegal instruction: gcc drops the stores into the tile configuration.
Then use clang, or --peer-plain, which leaves AMX and repacking out. LLAMA_CPP_LIB_PATH picks another build of its libraries.
"""
import argparse
import datetime
import json
import os
import platform
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))


def cpu_name():
    try:
        for line in open("/proc/cpuinfo"):
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def run(cmd):
    done = subprocess.run(cmd, capture_output=True, text=True, timeout=3600)
    if done.returncode:
        sys.exit(f"{cmd[0]} ... ended with {done.returncode}:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.strip().splitlines()[-1])


def median(values):
    return statistics.median(values) if values else float("nan")


def compare(model, a):
    common = ["--pp", str(a.pp), "--tg", str(a.tg), "--batch", a.batch, "--threads", str(a.threads), "--reps", "1"]
    ours = [os.path.join(a.build, "rocmforge"), "bench", model, *common, "--json"]
    peer = [a.peer_python, os.path.join(HERE, "peer_llama.py"), model, *common] + (["--plain"] if a.peer_plain else [])
    rounds, peer_info = {"ours": [], "peer": []}, {}
    for i in range(a.rounds):
        for name, cmd in (("ours", ours), ("peer", peer)) if i % 2 == 0 else (("peer", peer), ("ours", ours)):
            got = run(cmd)
            rounds[name].append({(r["test"], r["n"], r["batch"]): r["tokens_per_s"] for r in got["rows"]})
            if name == "peer":
                peer_info = {k: got[k] for k in ("engine", "system")}
        print(f"  round {i + 1} of {a.rounds}", file=sys.stderr)
    rows = []
    for key in rounds["peer"][0]:
        o, p = [r[key] for r in rounds["ours"] if key in r], [r[key] for r in rounds["peer"]]
        rows.append({"test": key[0], "n": key[1], "batch": key[2], "ours": round(median(o), 2), "peer": round(median(p), 2),
                     "ratio": round(median(o) / median(p), 3), "ours_runs": o, "peer_runs": p})
    return {"model": os.path.basename(model), "bytes": os.path.getsize(model), "threads": a.threads, "machine": cpu_name(),
            "date": datetime.date.today().isoformat(), "load": os.getloadavg()[0], **peer_info, "rows": rows}


def main():
    ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    ap.add_argument("models", nargs="+")
    ap.add_argument("--pp", type=int, default=512)
    ap.add_argument("--tg", type=int, default=128)
    ap.add_argument("--batch", default="1,8")
    ap.add_argument("--threads", type=int, default=2)
    ap.add_argument("--rounds", type=int, default=5)
    ap.add_argument("--build", default=os.path.join(HERE, "..", "build"))
    ap.add_argument("--peer-python", default=sys.executable)
    ap.add_argument("--peer-plain", action="store_true")
    a = ap.parse_args()
    os.makedirs(os.path.join(HERE, "results"), exist_ok=True)
    for model in a.models:
        r = compare(model, a)
        print(f"{r['model']}, {r['threads']} threads, {r['machine']}, {r['engine']}")
        for row in r["rows"]:
            label = f"{row['test']}{row['n']}" + (f" x {row['batch']}" if row["batch"] > 1 else "")
            print(f"  {label:12} ours {row['ours']:9.1f}  peer {row['peer']:9.1f} tokens/s  ratio {row['ratio']:.2f}")
        with open(os.path.join(HERE, "results", os.path.splitext(r["model"])[0] + ".json"), "w") as f:
            json.dump(r, f, indent=1)
            f.write("\n")


if __name__ == "__main__":
    main()
