"""What a person gets with a GPU: sizes said before anything is loaded, and limits that are kept. On emulated drivers (cuda:0 warp 32,
hip:0 warp 64), which count their calls and bytes."""
import json
import os
import re

import numpy as np
import program
import pytest
import requests
import test_cli

TINY = ("--max-step-tokens", 64, "--max-seqs", 4, "--raw", "-n", 3, "hello")


@pytest.fixture(scope="module")
def gpu(build, emulator, tmp_path_factory):
    """run(device, *args) -> out, err, stats"""
    root = tmp_path_factory.mktemp("gpu")
    p = program.Program(build, root, shipped=False)
    stats = root / "stats"

    def run(*args, code=0, **env):
        stats.unlink(missing_ok=True)
        out, err = p.run("run", *args, code=code, LD_LIBRARY_PATH=str(emulator), RF_EMU_STATS=str(stats), **{k: str(v) for k, v in env.items()})
        words = stats.read_text().split() if stats.exists() else []
        return out, err, dict(zip(words[::2], map(int, words[1::2])))

    run.program, run.emulator = p, emulator
    run.model = program.tiny(str(root / "tiny.gguf"))
    run.demo = build.parent / "models/demo/rocmforge-demo.gguf"
    return run


def megabytes(err):
    """weights, cache, scratch, sum, usable, total"""
    found = re.search(r"weights of ([\d.]+) MB, a KV cache of ([\d.]+) MB for \d+ tokens and ([\d.]+) MB of scratch memory make ([\d.]+) MB, "
                      r"but ([\d.]+) of ([\d.]+) MB may be used \(free, and within --gpu-memory-fraction ([\d.]+)\)", err)
    assert found, err
    return [float(x) for x in found.groups()]


@pytest.mark.parametrize("device", ["cuda:0", "hip:0"])
def test_too_large_is_refused_before_allocating(gpu, device):
    _, err, stats = gpu(gpu.model, "--device", device, *TINY, RF_EMU_MEMORY=2_000_000, code=3)
    weights, cache, scratch, all_, usable, total, fraction = megabytes(err)
    assert device in err and (usable, total, fraction) == (1.8, 2.0, 0.9) and abs(weights + cache + scratch - all_) < 0.2
    assert "no context fits" in err and "--device cpu" in err
    assert stats["allocations"] == 1 and stats["peak"] <= 256  # the first kernel's, which proves that code runs here


def test_the_context_that_is_named_fits(gpu):
    args = (gpu.model, "--device", "cuda:0", *TINY)
    need = megabytes(gpu(*args, RF_EMU_MEMORY=2_000_000, code=3)[1])[3]  # with a cache of 0.3 MB for all 512 tokens
    memory = int((need - 0.1) * 1e6 / 0.9)
    named = re.search(r"a context of (\d+) tokens would fit: --ctx (\d+)", gpu(*args, "--ctx", 512, RF_EMU_MEMORY=memory, code=3)[1])
    assert named and 1 <= int(named[1]) < 512 and named[1] == named[2]
    _, _, stats = gpu(*args, "--ctx", named[1], RF_EMU_MEMORY=memory)
    assert stats["peak"] <= 0.9 * memory and stats["live"] == 0
    assert "would fit" in gpu(*args, "--ctx", int(named[1]) + 32, RF_EMU_MEMORY=memory, code=3)[1]


def test_the_fraction_is_kept(gpu):
    args = (gpu.model, "--device", "hip:0", *TINY)
    memory = 400_000_000
    assert gpu(*args, "--gpu-memory-fraction", 0.2, RF_EMU_MEMORY=memory)[2]["peak"] <= 0.2 * memory
    err = gpu(*args, RF_EMU_MEMORY=memory, ROCMFORGE_GPU_MEMORY_FRACTION=0.05, code=3)[1]
    assert megabytes(err)[4:] == [20, 400, 0.05]
    assert "gpu-memory-fraction" in gpu(*args, "--gpu-memory-fraction", 1.5, code=2)[1]


@pytest.mark.slow
def test_weights_stay_packed_in_one_allocation(gpu):
    size = gpu.demo.stat().st_size
    weights, cache = megabytes(gpu(gpu.demo, "--device", "cuda:0", RF_EMU_MEMORY=30_000_000, code=3)[1])[:2]
    assert weights * 1e6 <= 1.05 * size
    _, _, stats = gpu(gpu.demo, "--device", "cuda:0", "--kv-blocks", 64, "--max-step-tokens", 64, "--max-seqs", 4, "--raw", "-n", 2, "hello")
    assert stats["allocations"] <= 16 and stats["live"] == 0, stats
    assert stats["peak"] <= 1.05 * size + 300e6, stats


LLAMA_8B = dict(embd=4096, ff=14336, layers=32, heads=32, kv=8, vocab=128256)
WORDY = dict(embd=1024, ff=4096, layers=16, heads=16, kv=4, vocab=151936)  # logits are larger than gate and up
GEMMA = dict(embd=1280, ff=6912, layers=26, heads=5, kv=1, vocab=262144)  # much like it; fewer sequences than 256, so that logits take 160 MB at most


def hollow_llama(path, embd, ff, layers, heads, kv, vocab):
    """A file of such a shape, as Q4_K_M lays types out: headers, and zeros that take no room on disk."""
    gguf = pytest.importorskip("gguf")
    Q, head = gguf.GGMLQuantizationType, embd // heads
    w = gguf.GGUFWriter(path, "llama")
    w.add_block_count(layers), w.add_context_length(8192), w.add_embedding_length(embd), w.add_feed_forward_length(ff)
    w.add_head_count(heads), w.add_head_count_kv(kv), w.add_layer_norm_rms_eps(1e-5), w.add_rope_dimension_count(head), w.add_vocab_size(vocab)
    w.add_tokenizer_model("gpt2"), w.add_tokenizer_pre("llama-bpe"), w.add_token_list([f"t{i}" for i in range(vocab)])
    w.add_token_types([1] * vocab), w.add_token_merges(["t 0"]), w.add_eos_token_id(0)
    size = 0

    def tensor(name, rows, cols, kind):
        nonlocal size
        block, of = gguf.GGML_QUANT_SIZES[kind]
        bytes_ = max(rows, 1) * cols // block * of
        size += (bytes_ + 31) // 32 * 32
        if rows:
            w.add_tensor_info(name, (rows, cols // block * of), np.dtype(np.uint8), bytes_, raw_dtype=kind)
        else:
            w.add_tensor_info(name, (cols,), np.dtype(np.float32), bytes_)
    tensor("token_embd.weight", vocab, embd, Q.Q4_K), tensor("output_norm.weight", 0, embd, Q.F32), tensor("output.weight", vocab, embd, Q.Q6_K)
    for i in range(layers):
        more = Q.Q6_K if i < layers // 8 or i >= 7 * layers // 8 or (i - layers // 8) % 3 == 2 else Q.Q4_K
        for name, rows, cols, kind in (("attn_norm", 0, embd, Q.F32), ("ffn_norm", 0, embd, Q.F32), ("attn_q", embd, embd, Q.Q4_K), ("attn_k", kv * head, embd, Q.Q4_K),
                                       ("attn_v", kv * head, embd, more), ("attn_output", embd, embd, Q.Q4_K), ("ffn_gate", ff, embd, Q.Q4_K),
                                       ("ffn_up", ff, embd, Q.Q4_K), ("ffn_down", embd, ff, more)):
            tensor(f"blk.{i}.{name}.weight", rows, cols, kind)
    w.write_header_to_file(), w.write_kv_data_to_file(), w.write_ti_data_to_file(), w.close()
    os.truncate(path, os.path.getsize(path) + size + 4096)
    return path


@pytest.mark.parametrize("shape", [LLAMA_8B, WORDY, GEMMA], ids=["8b", "wordy", "gemma"])
def test_memory_of_a_large_model(gpu, shape, tmp_path):
    """By arithmetic, before anything is loaded: weights, and what steps of 2,048 tokens and all outputs take besides, are within 1.05 times the file and 300 MB."""
    path = hollow_llama(tmp_path / "m.gguf", **shape)
    size, embd = path.stat().st_size / 1e6, shape["embd"]
    registers = 2 * embd * 2048 * 4 / 1e6  # X; H, A. Then G; U, Y, Q K V, or logits behind H's rows of outputs; the largest product's bf16 inputs in U
    registers = max(registers + 2 * shape["ff"] * 2048 * 4 / 1e6, registers / 2 + min(256, (160 << 20) // 4 // shape["vocab"]) * (embd + shape["vocab"]) * 4 / 1e6)
    for device in ("cuda:0", "hip:0"):
        weights, cache, scratch = megabytes(gpu(path, "--device", device, "--raw", "-n", 1, "x", RF_EMU_MEMORY=100_000_000, code=3)[1])[:3]
        assert registers < scratch < registers + 120, (registers, scratch)
        assert weights < 1.03 * size and weights + scratch < 1.05 * size + 300


@pytest.mark.parametrize("device", ["cuda:0", "hip:0"])
def test_kernels_are_measured_one_by_one(gpu, device):
    out, err = gpu.program.run(*test_cli.KERNELS, "--json", "--device", device, LD_LIBRARY_PATH=str(gpu.emulator))
    r = json.loads(out)
    test_cli.check_kernels(r["rows"], chooses=True)
    assert r["device"].startswith(device + ": emulator")


@pytest.mark.slow
def test_steps_begin_before_the_one_before_has_ended(gpu):
    """Decoding alone and among others; with --no-async-scheduling none does, and every text is the same."""
    texts = []
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 16, "n": 3, "seed": 5, "ignore_eos": True}
    for more in ([], ["--no-async-scheduling"]):
        s = gpu.program.serve(gpu.model, "--device", "cuda:0", "--max-seqs", 4, *more, LD_LIBRARY_PATH=str(gpu.emulator))
        try:
            texts.append([c["text"] for c in requests.post(s.url + "/v1/completions", json=body, timeout=300).json()["choices"]])
            metrics = requests.get(s.url + "/metrics", timeout=60).text
        finally:
            s.stop()
        ahead, steps = (float(re.search(name + r"\{.*\} (\S+)", metrics)[1]) for name in ("rocmforge_async_steps_total", "llamacpp:n_decode_total"))
        assert ahead == 0 if more else ahead > steps / 2, (ahead, steps)
    assert texts[0] == texts[1] and len(set(texts[0])) == 3


@pytest.mark.parametrize("kind", ["hang", "fault"])
@pytest.mark.parametrize("listed", [False, True], ids=["one model", "models on demand"])
def test_a_failed_device_ends_the_server(gpu, kind, listed, tmp_path):
    """In-flight requests get an error, /health is 503, the process exits with 1 for its supervisor."""
    fault = tmp_path / "fault"
    env = {"LD_LIBRARY_PATH": str(gpu.emulator), "RF_EMU_FAULT": str(fault)}
    args = ("--model-dir", str(gpu.program.root)) if listed else (gpu.model,)
    patience = 30 if os.environ.get("RF_TEST_SANITIZED") else 5  # above what an emulated step takes on a slow machine
    s = gpu.program.serve(*args, "--device", "cuda:0", "--max-step-tokens", 64, "--max-seqs", 4, "--step-timeout", patience, **env)
    body = {"model": "tiny", "prompt": "hello", "max_tokens": 400, "temperature": 0, "ignore_eos": True, "stream": True}
    with requests.post(s.url + "/v1/completions", json=body, stream=True, timeout=120) as r:
        lines, health = [], []
        for line in r.iter_lines():
            lines.append(line)
            if len(lines) == 3:
                fault.write_text(kind)
            if b'"error"' in line:
                try:
                    health.append(requests.get(s.url + "/health", timeout=10).status_code)
                except requests.ConnectionError:
                    health.append("gone")
    assert len(lines) > 3 and any(b'"error"' in x for x in lines), lines[-5:]
    assert health[0] in (503, "gone")
    assert s.ended(20) == 1, "".join(s.err)
    assert "a device failed" in "".join(s.err)
    told = b"".join(lines).decode()
    assert (f"did not end within {patience} s" if kind == "hang" else "emulated fault") in told, told[-600:]
