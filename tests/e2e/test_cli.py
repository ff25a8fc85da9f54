"""Every command as a person or a script meets it: output, exit codes, pipes. On tiny models, so on any machine in seconds."""
import json
import os
import pathlib
import signal
import subprocess
import time

import fixtures as F
import pytest
from tokenizers import Tokenizer

ROOT = pathlib.Path(__file__).resolve().parents[2]
OK, FAILED, USAGE, MODEL, INTERRUPTED = 0, 1, 2, 3, 130
TEXT = "The quick brown fox\njumps: int main(void) { return 0; } 123 äöü 你好 \U0001f600"


@pytest.fixture(scope="session")
def tiny(tmp_path_factory):
    """Paths of one small model, as GGUF, split GGUF and folder."""
    root = tmp_path_factory.mktemp("e2e")
    out = {}
    for name, v, t, rel in F.cases():
        if name in ("llama-F32-gguf", "llama-F32-hf", "llama-F32-gguf-split", "gemma3-F32-gguf"):
            F.write_case(name, v, t, str(root / rel))
            out[name] = str(root / rel)
    return out


@pytest.fixture(scope="session")
def rf(build):
    def run(*args, code=OK, stdin="", env=None, timeout=120):
        done = subprocess.run([build / "rocmforge", *map(str, args)], input=stdin.encode(), capture_output=True, timeout=timeout,
                              env={**os.environ, **(env or {})})
        err = done.stderr.decode()
        assert done.returncode == code, f"exit {done.returncode}, expected {code}: {err[-2000:]}"
        assert "Sanitizer" not in err and "runtime error" not in err, err[-4000:]
        return done.stdout.decode(), err
    return run


def test_version(rf, build):
    start = time.perf_counter()
    out, err = rf("version")
    print(f"version took {1000 * (time.perf_counter() - start):.1f} ms")
    assert out.startswith("rocmforge 0.") and out.count("\n") == 1 and err == ""


def test_a_command_that_serves_nothing_needs_no_http_library(rf, tmp_path):
    (tmp_path / "libmicrohttpd.so.12").write_text("no library")
    broken = {"LD_LIBRARY_PATH": str(tmp_path)}
    assert rf("version", env=broken)[1] == ""
    err = rf("serve", "--port", "0", code=FAILED, env=broken)[1]
    assert "libmicrohttpd.so.12 does not load" in err and "apt install libmicrohttpd12" in err and err.count("\n") <= 2, err


@pytest.mark.parametrize("command", ["run", "serve", "bench", "perplexity", "show", "tokenize", "template", "version"])
def test_help(rf, command):
    out, err = rf(command, "--help")
    assert command in out and err == ""


def test_overview(rf):
    out, _ = rf("--help")
    for command in ("run", "serve", "bench", "perplexity", "show", "tokenize", "template", "version"):
        assert command in out
    welcome = rf()[0]
    assert welcome.count("\n") == 5 and "rocmforge run" in welcome and "rocmforge serve" in welcome


@pytest.mark.parametrize("args,near", [
    (["run", "m.gguf", "hi", "--max-tokns", "3"], "--max-tokens"), (["srve", "m.gguf"], "serve"),
    (["bench", "m.gguf", "--thread", "2"], "--threads"), (["show", "m.gguf", "--temperature", "1"], None),
    (["run", "m.gguf", "hi", "--max-tokens", "x"], None), (["run", "m.gguf", "hi", "--max-tokens"], None),
    (["run", "m.gguf", "hi", "--top-p", "1.5"], None), (["show"], None), (["version", "extra"], None),
    (["serve", "m.gguf", "--port", "70000"], None),
])
def test_wrong_lines(rf, args, near):
    out, err = rf(*args, code=USAGE)
    assert out == "" and err.strip()
    if near:
        assert near in err


@pytest.mark.parametrize("command", ["run", "show", "tokenize", "bench", "serve"])
def test_bad_models(rf, command, tmp_path):
    extra = ["hello"] if command in ("run", "tokenize") else []
    out, err = rf(command, tmp_path / "none.gguf", *extra, code=MODEL)
    assert out == "" and "none.gguf" in err and err.count("\n") <= 3
    for name, content in (("empty.gguf", b""), ("text.gguf", b"this is no model" * 100), ("magic.gguf", b"GGUF\x03\0\0\0" + b"\xff" * 64)):
        (tmp_path / name).write_bytes(content)
        out, err = rf(command, tmp_path / name, *extra, code=MODEL)
        assert out == "" and name in err


def test_show(rf, tiny):
    out, err = rf("show", tiny["llama-F32-gguf"])
    assert "llama" in out and err == ""
    facts = json.loads(rf("show", tiny["llama-F32-gguf"], "--json")[0])
    assert facts and "tensors" not in facts
    full = json.loads(rf("show", tiny["llama-F32-gguf"], "--json", "-v")[0])
    assert len(full["tensors"]) == 21
    assert "blk.1.ffn_down.weight" in rf("show", tiny["llama-F32-gguf"], "-v")[0]
    assert rf("show", tiny["llama-F32-hf"])[0]


def test_tokenize(rf, tiny):
    want = Tokenizer.from_file(os.path.join(F.DATA, "tokenizer.json")).encode(TEXT, add_special_tokens=False).ids
    for name in ("llama-F32-gguf", "llama-F32-hf", "llama-F32-gguf-split"):
        out, err = rf("tokenize", tiny[name], TEXT, "--ids", "--no-special")
        assert out.split() == list(map(str, want)) and err == "", name
        assert rf("tokenize", tiny[name], "--ids", "--no-special", stdin=TEXT)[0] == out
    assert rf("tokenize", tiny[name], "", "--ids", "--no-special")[0].split() == []
    assert rf("tokenize", tiny[name], "a</s>b", "--ids")[0].split()[1] == "1"
    assert "1" not in rf("tokenize", tiny[name], "a</s>b", "--ids", "--no-special")[0].split()


def test_template(rf, tmp_path):
    (tmp_path / "t.jinja").write_text("{% for m in messages %}<{{ m.role }}>{{ m.content | trim }}\n{% endfor %}"
                                      "{% if add_generation_prompt %}<assistant>{% endif %}{{ extra }}")
    (tmp_path / "m.json").write_text(json.dumps({"messages": [{"role": "user", "content": " hé "}], "extra": 7,
                                                 "add_generation_prompt": True}))
    out, err = rf("template", tmp_path / "t.jinja", "--messages", tmp_path / "m.json")
    assert out.rstrip("\n") == "<user>hé\n<assistant>7" and err == ""
    (tmp_path / "bad.jinja").write_text("{% for %}")
    out, err = rf("template", tmp_path / "bad.jinja", "--messages", tmp_path / "m.json", code=FAILED)
    assert out == "" and err


def test_run(rf, tiny):
    args = ["--raw", "--max-tokens", 24, "--ignore-eos"]
    texts = {rf("run", tiny[n], "int main", *args, "--temperature", 0)[0] for n in ("llama-F32-gguf", "llama-F32-hf", "llama-F32-gguf-split")}
    assert len(texts) == 1
    greedy = texts.pop()
    assert greedy.strip("\n")
    assert rf("run", tiny["llama-F32-gguf"], *args, "--temperature", 0, stdin="int main")[0] == greedy
    warm = [rf("run", tiny["llama-F32-gguf"], "int main", *args, "--temperature", 1, "--seed", s)[0] for s in (1, 1, 2)]
    assert warm[0] == warm[1] != warm[2]


def test_piped_text_stands_before_the_prompt(build, rf, tiny, tmp_path):
    args = ["run", tiny["llama-F32-gguf"], "--raw", "-n", 8, "-t", 0, "--ignore-eos"]
    both = rf(*args, stdin="int main(void)\n\nreturn")[0]
    assert rf(*args[:2], "return", *args[2:], stdin="int main(void)\n")[0] == both != rf(*args[:2], "return", *args[2:])[0]
    assert "prompt is empty" in rf("run", tiny["llama-F32-gguf"], stdin=" \n", code=USAGE)[1]
    assert "prompt is empty" in rf("run", tiny["llama-F32-gguf"], "", code=USAGE)[1]
    loop = f"while read -r q; do {build}/rocmforge run {tiny['llama-F32-gguf']} \"$q\" --raw -n 8 -t 0 --ignore-eos; done < {tmp_path}/asked"
    (tmp_path / "asked").write_text("return\nint\nreturn\n")
    done = subprocess.run(["bash", "-c", loop], capture_output=True, text=True, timeout=60)
    alone = {q: rf("run", tiny["llama-F32-gguf"], q, *args[2:])[0] for q in ("return", "int")}
    assert done.stdout == alone["return"] + alone["int"] + alone["return"]
    read, write = os.pipe()  # a supervisor's pipe: open, and silent
    done = subprocess.run([build / "rocmforge", *map(str, args[:2]), "return", *map(str, args[2:])], stdin=read, capture_output=True, timeout=60)
    os.close(read), os.close(write)
    assert done.returncode == OK and done.stdout.decode() == rf(*args[:2], "return", *args[2:])[0] and b"nothing came through the pipe" in done.stderr


def test_errors_say_what_to_do(rf, tiny):
    small = ["run", tiny["llama-F32-gguf"], "x " * 300, "--raw"]
    assert "found" in (err := rf(*small, "--ctx", 64, code=FAILED)[1]) and "--ctx N makes it longer, up to the model's 512" in err
    assert "take a model with a longer context" in rf("run", tiny["llama-F32-gguf"], "x " * 900, "--raw", code=FAILED)[1]
    assert '--batch is "1,x", expected' in rf("bench", tiny["llama-F32-gguf"], "--batch", "1,x", code=USAGE)[1]
    assert "from 1 to 1024" in rf("bench", tiny["llama-F32-gguf"], "--batch", 2048, code=USAGE)[1]


def test_run_options_reach_the_sampler(rf, tiny):
    args = ["run", tiny["llama-F32-gguf"], "for (int i", "--raw", "--temperature", 0, "--ignore-eos", "--max-tokens", 8]
    plain = rf(*args)[0]
    forced = rf(*args, "--logit-bias", "40=100")[0]
    tok = Tokenizer.from_file(os.path.join(F.DATA, "tokenizer.json"))
    assert forced.rstrip("\n") == tok.decode([40] * 8) != plain.rstrip("\n")
    letter = tok.decode([40])
    assert rf(*args, "--logit-bias", "40=100", "--stop", letter * 3)[0].strip("\n") == ""


def test_interrupt(build, tiny):
    p = subprocess.Popen([build / "rocmforge", "run", tiny["llama-F32-gguf"], "hi", "--raw", "--ignore-eos", "--max-tokens", "400",
                          "--isa", "ref", "--temperature", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.read(1)
    p.send_signal(signal.SIGINT)
    _, err = p.communicate(timeout=30)
    assert p.returncode in (INTERRUPTED, OK), err  # OK: it was done before the signal came


def test_reader_that_leaves(build, tiny):
    p = subprocess.Popen([build / "rocmforge", "run", tiny["llama-F32-gguf"], "hi", "--raw", "--ignore-eos", "--max-tokens", "400"],
                         stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    p.stdout.read(1)
    p.stdout.close()
    err = p.stderr.read().decode()
    p.wait(timeout=60)
    assert "Sanitizer" not in err and p.returncode in (0, 1, -signal.SIGPIPE, 128 + signal.SIGPIPE), (p.returncode, err)


@pytest.mark.parametrize("args", [["version"], ["--help"], ["tokenize", "MODEL", "hello"], ["show", "MODEL", "--json"]], ids=lambda a: a[0])
def test_output_that_does_not_arrive(build, tiny, args):
    args = [tiny["llama-F32-gguf"] if a == "MODEL" else a for a in args]
    with open("/dev/full", "w") as full:
        done = subprocess.run([build / "rocmforge", *args], stdout=full, stderr=subprocess.PIPE, timeout=60)
    assert done.returncode == FAILED and "standard output: No space left" in done.stderr.decode()


def test_perplexity(rf, tiny, tmp_path):
    (tmp_path / "t.txt").write_text((pathlib.Path(F.DATA).parent / "text/prompts.txt").read_text()[:1500])
    a = json.loads(rf("perplexity", tiny["llama-F32-gguf"], tmp_path / "t.txt", "--json", "--ctx", 64)[0])
    b = json.loads(rf("perplexity", tiny["llama-F32-hf"], tmp_path / "t.txt", "--json", "--ctx", 64)[0])
    assert a["tokens"] > 500 and a["perplexity"] == pytest.approx(b["perplexity"], rel=1e-5)
    assert a["perplexity"] > 50
    assert "perplexity" in rf("perplexity", tiny["llama-F32-gguf"], tmp_path / "t.txt", "--ctx", 64)[0]
    rf("perplexity", tiny["llama-F32-gguf"], tmp_path / "none.txt", code=FAILED)


KERNELS = ("bench", "--kernels", "--shapes", "256x256,96x64", "--batch", "1,20", "--ctx", 32, "--reps", 2)


def check_kernels(rows, chooses):
    assert rows[0]["kernel"] == "sum" and rows[0]["share"] == pytest.approx(1)
    products = {(r["what"], r["rows"], r["outputs"], r["inputs"]) for r in rows if r["kernel"] == "product"}
    assert products == {(t, m, 256, 256) for t in ("Q4_K", "Q6_K", "Q8_0", "F8_E4M3", "BF16") for m in (1, 20)} | \
        {(t, m, 96, 64) for t in ("Q8_0", "F8_E4M3", "BF16") for m in (1, 20)}
    assert [(r["what"], r["rows"]) for r in rows if r["kernel"] == "attention"] == [("decode", 1), ("prompt", 32)]
    assert len([r for r in rows if r["kernel"] == "choice"]) == (4 if chooses else 0)
    assert all(r["us"] > 0 and r["gb_per_s"] > 0 and r["share"] > 0 for r in rows)
    bf16 = next(r for r in rows if (r["what"], r["rows"], r["outputs"]) == ("BF16", 20, 256))
    assert bf16["gb_per_s"] == pytest.approx(256 * 256 * 2 / bf16["us"] * 1e-3, rel=1e-3)
    assert bf16["tflop_per_s"] == pytest.approx(2 * 256 * 256 * 20 / bf16["us"] * 1e-6, rel=1e-3)


def test_bench_kernels(rf):
    r = json.loads(rf(*KERNELS, "--json", "--device", "cpu", "--threads", 2)[0])
    check_kernels(r["rows"], chooses=False)
    assert r["device"].startswith("cpu: 2 threads")
    lines = rf(*KERNELS, "--device", "cpu", "--threads", 2)[0].splitlines()
    assert lines[0].startswith("cpu: ") and lines[1].split() == ["kernel", "rows", "outputs", "inputs", "us", "GB/s", "memory", "TFLOP/s"] and len(lines) == 2 + len(r["rows"])
    assert "needs MODEL, or --kernels" in rf("bench", code=USAGE)[1]
    assert 'leave "m.gguf" out' in rf("bench", "m.gguf", "--kernels", code=USAGE)[1]
    for bad in ("0x32", "32", "32x33", "32x32;1x32", "1x2000000"):
        assert f'--shapes is "{bad}", expected' in rf("bench", "--kernels", "--shapes", bad, code=USAGE)[1]
    rows = json.loads(rf("bench", "--kernels", "--shapes", "32x32", "--batch", 2048, "--ctx", 16, "--reps", 1, "--json", "--device", "cpu", "--threads", 2)[0])["rows"]
    assert {r["rows"] for r in rows if r["kernel"] == "product"} == {2048}  # as long as a step of prompts on a GPU
    assert "from 1 to 16384" in rf("bench", "--kernels", "--batch", 16385, code=USAGE)[1]
    assert "nonsense" in rf("bench", "--kernels", "--device", "nonsense", code=FAILED)[1]


def test_bench(rf, tiny):
    out, err = rf("bench", tiny["gemma3-F32-gguf"], "--pp", 32, "--tg", 8, "--batch", "1,4", "--threads", 2, "--reps", 2, "--json")
    r = json.loads(out)
    assert {(x["test"], x["n"], x["batch"]) for x in r["rows"]} >= {("pp", 32, 1), ("tg", 8, 1), ("tg", 8, 4)}
    assert all(x["tokens_per_s"] > 0 and x["stddev"] >= 0 for x in r["rows"]) and r["model"] and r["machine"]


def test_sizes(build):
    """Resident and on-disk sizes are stated in the docs: printed here so that a jump is seen."""
    stripped = subprocess.run(["strip", "-o", "/dev/stdout", build / "rocmforge"], capture_output=True)
    print("stripped binary:", len(stripped.stdout) or os.path.getsize(build / "rocmforge"), "bytes")
    if not os.environ.get("RF_TEST_SANITIZED"):
        assert len(stripped.stdout) < 5 << 20


def test_peak_memory(build, models):
    """File + KV + 150 MB at any moment, loading included: 64 blocks of KV of this model are 13 MB."""
    if os.environ.get("RF_TEST_SANITIZED"):
        pytest.skip("sanitizers have memory of their own")
    model = models("qwen2.5-coder-0.5b")
    p = subprocess.Popen([build / "rocmforge", "run", model, "hi", "--raw", "--max-tokens", "2", "--kv-blocks", "64", "--device", "cpu"],
                         stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(p.pid, 0)
    p.returncode = os.waitstatus_to_exitcode(status)
    assert p.returncode == 0
    assert used.ru_maxrss / 1024 < os.path.getsize(model) / 2**20 + 13 + 150


@pytest.mark.parametrize("args,code", [("run MODEL hi --chat-template PIPE", MODEL), ("run MODEL hi --config PIPE", USAGE), ("template PIPE --messages MODEL", MODEL),
                                       ("template MODEL --messages PIPE", FAILED), ("perplexity MODEL PIPE", FAILED), ("template MODEL --messages /proc/self/maps", FAILED)])
def test_files_on_the_line_are_regular_files(rf, tiny, tmp_path, args, code):
    """A pipe that nobody writes to would hold the program for ever."""
    os.mkfifo(tmp_path / "pipe")
    words = [{"MODEL": tiny["llama-F32-gguf"], "PIPE": tmp_path / "pipe"}.get(w, w) for w in args.split()]
    err = rf(*words, code=code, timeout=60)[1]
    assert err.startswith("rocmforge: ") and err.count("\n") == 1, err
