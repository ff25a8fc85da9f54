"""safetensors as PyPI safetensors writes it, single and sharded, against our reader's view; refusals agree as well."""
import json
import os
import pathlib
import subprocess

import numpy as np
import pytest

st = pytest.importorskip("safetensors.numpy")

ROOT = pathlib.Path(__file__).resolve().parents[3]
DUMP = pathlib.Path(os.environ.get("RF_BUILD", ROOT / "build")) / "tests/unit/format/dump_weights"
pytestmark = pytest.mark.skipif(not DUMP.exists(), reason="dump_weights is not built")
IDS = {"float32": 0, "float16": 1, "int8": 24, "int16": 25, "int32": 26, "int64": 27, "float64": 28}


def dump(path):
    return subprocess.run([DUMP, path], capture_output=True, text=True)


def ours(path):
    r = dump(path)
    assert r.returncode == 0, r.stderr
    rows = [json.loads(line) for line in r.stdout.splitlines()]
    return {bytes.fromhex(t["tensor"]).decode(): t for t in rows if "tensor" in t}


def arrays(seed, n):
    rng = np.random.default_rng(seed)
    out = {}
    for i in range(n):
        shape = tuple(int(d) for d in rng.integers(1, 9, rng.integers(1, 5)))
        out[f"layer.{seed}.{i} \u00e9\"\\"] = rng.standard_normal(shape).astype(list(IDS)[i % len(IDS)])
    return out


def check(view, array):
    assert view["type"] == IDS[str(array.dtype)]
    assert view["n_dim"] == array.ndim
    assert view["dim"] == [*reversed(array.shape), *[1] * (4 - array.ndim)]
    assert view["bytes"] == array.nbytes


def header(path):
    raw = path.read_bytes()
    n = int.from_bytes(raw[:8], "little")
    return json.loads(raw[8 : 8 + n])


def test_single(tmp_path):
    want = arrays(1, 30)
    path = tmp_path / "model.safetensors"
    st.save_file(want, path, metadata={"format": "np"})
    got = ours(path)
    assert set(got) == set(want)
    offsets = {k: v["data_offsets"][0] for k, v in header(path).items() if k != "__metadata__"}
    first = offsets[next(iter(got))]
    for name, array in want.items():
        check(got[name], array)
        assert got[name]["from_first"] == offsets[name] - first


def test_sharded(tmp_path):
    want, index = {}, {}
    for i in range(1, 4):
        shard = arrays(i, 5)
        st.save_file(shard, tmp_path / f"model-{i:05}-of-00003.safetensors")
        want |= shard
        index |= {name: f"model-{i:05}-of-00003.safetensors" for name in shard}
    (tmp_path / "config.json").write_text('{"model_type": "llama"}')
    (tmp_path / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
    got = ours(tmp_path)
    assert set(got) == set(want)
    for name, array in want.items():
        check(got[name], array)
    (tmp_path / "model-00002-of-00003.safetensors").unlink()
    r = dump(tmp_path)
    assert r.returncode == 1 and "model-00002-of-00003.safetensors" in r.stderr


def test_what_pypi_refuses_we_refuse(tmp_path):
    """1,000 seeded changes of header bytes: no file that PyPI safetensors refuses opens here."""
    path = tmp_path / "x.safetensors"
    st.save_file(arrays(7, 4), path)
    raw = path.read_bytes()
    n = 8 + int.from_bytes(raw[:8], "little")
    rng = np.random.default_rng(3)
    refused = 0
    for _ in range(1000):
        at = int(rng.integers(0, n))
        changed = bytearray(raw)
        changed[at] = int(rng.choice(list(b'{}[]":,0123456789 ') + [int(rng.integers(0, 256))]))
        path.write_bytes(changed)
        try:
            st.load_file(path)
        except Exception:
            refused += 1
            assert dump(path).returncode == 1, f"byte {at} = {changed[at]:#x}"
    assert refused > 500
