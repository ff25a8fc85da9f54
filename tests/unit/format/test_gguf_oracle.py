"""Facts, tensor shapes and offsets of GGUF files as PyPI gguf's GGUFReader sees them, against our reader's.

GGUFReader takes many seconds for a large vocabulary: by default the small files run and one real model; RF_TEST_FULL=1
runs all.
"""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

gguf = pytest.importorskip("gguf")

ROOT = pathlib.Path(__file__).resolve().parents[3]
DUMP = pathlib.Path(os.environ.get("RF_BUILD", ROOT / "build")) / "tests/unit/format/dump_weights"
SHARED = pathlib.Path(os.environ.get("RF_SHARED", ROOT.parent / "shared"))
MODELS = pathlib.Path(os.environ.get("RF_TEST_MODELS", pathlib.Path.home() / ".cache/rocmforge-test-models"))
FILES = sorted(SHARED.glob("vocab/*.gguf")) + sorted(MODELS.glob("*.gguf"))
QUICK = ("bert-bge.gguf", "llama-spm.gguf", "deepseek-coder.gguf", "qwen2.5-coder-0.5b-instruct-q4_k_m.gguf")
if not os.environ.get("RF_TEST_FULL"):
    FILES = [f for f in FILES if f.name in QUICK]

V = gguf.GGUFValueType
FLOATS = (V.FLOAT32, V.FLOAT64)


def ours(path):
    out = subprocess.run([DUMP, path], check=True, capture_output=True, text=True).stdout
    rows = [json.loads(line) for line in out.splitlines()]
    return [r for r in rows if "key" in r], [r for r in rows if "tensor" in r]


def item(kind, part):
    if kind == V.STRING:
        return bytes(part).hex()
    if kind in FLOATS:
        return float(part[0])
    return int(part[0])


def parsed(value):
    return float.fromhex(value) if isinstance(value, str) else value


@pytest.mark.skipif(not DUMP.exists(), reason="dump_weights is not built")
@pytest.mark.skipif(not FILES, reason="no GGUF files at hand")
@pytest.mark.parametrize("path", FILES, ids=lambda p: p.name)
def test_same_as_pypi_gguf(path):
    facts, tensors = ours(path)
    reader = gguf.GGUFReader(path)
    fields = {k: f for k, f in reader.fields.items() if not k.startswith("GGUF.")}
    assert [bytes.fromhex(f["key"]).decode() for f in facts] == list(fields)
    for fact, field in zip(facts, fields.values()):
        last = field.types[-1]
        value = fact["value"]
        if field.types[0] == V.ARRAY:
            assert len(value) == len(field.data), field.name
            step = 1 + len(value) // 4096  # the reader is slow: long arrays are sampled, ends included
            some = sorted({*range(0, len(value), step), *range(len(value))[-8:]})
            want = [item(last, field.parts[field.data[i]]) for i in some]
            got = [value[i] if last == V.STRING else parsed(value[i]) for i in some]
            assert got == want, field.name
        else:
            got = value if last == V.STRING else parsed(value)
            assert got == item(last, field.parts[field.data[0]]), field.name
    assert len(tensors) == len(reader.tensors)
    for got, want in zip(tensors, reader.tensors):
        assert bytes.fromhex(got["tensor"]).decode() == want.name
        assert got["type"] == int(want.tensor_type), want.name
        assert got["n_dim"] == len(want.shape), want.name
        assert got["dim"][: len(want.shape)] == [int(d) for d in want.shape], want.name
        assert got["bytes"] == int(want.n_bytes), want.name
        assert got["from_first"] == int(want.data_offset) - int(reader.tensors[0].data_offset), want.name


def split_parts(tmp_path, arrays, cut):
    """The same tensors as one split file of len(cut) parts."""
    names = list(arrays)
    paths, start = [], 0
    for no, n in enumerate(cut):
        path = tmp_path / f"m-{no + 1:05}-of-{len(cut):05}.gguf"
        w = gguf.GGUFWriter(path, "llama")
        w.add_uint16("split.no", no)
        w.add_uint16("split.count", len(cut))
        w.add_int32("split.tensors.count", len(names))
        for name in names[start : start + n]:
            w.add_tensor(name, arrays[name])
        start += n
        w.write_header_to_file()
        w.write_kv_data_to_file()
        w.write_tensors_to_file()
        w.close()
        paths.append(path)
    return paths


@pytest.mark.skipif(not DUMP.exists(), reason="dump_weights is not built")
def test_split_file(tmp_path):
    rng = np.random.default_rng(1)
    arrays = {f"t{i}": rng.standard_normal((3, 8 + i), dtype=np.float32) for i in range(7)}
    paths = split_parts(tmp_path, arrays, [3, 3, 1])
    for path in [paths[0], paths[2], tmp_path]:
        facts, tensors = ours(path)
        assert [bytes.fromhex(t["tensor"]).decode() for t in tensors] == list(arrays)
        assert [t["file"] for t in tensors] == [0, 0, 0, 1, 1, 1, 2]
        assert bytes.fromhex(facts[0]["key"]).decode() == "general.architecture"
    paths[1].unlink()
    r = subprocess.run([DUMP, paths[0]], capture_output=True, text=True)
    assert r.returncode == 1 and "m-00002-of-00003.gguf" in r.stderr
