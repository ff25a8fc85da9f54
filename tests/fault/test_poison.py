"""Two tokens of this model are poison: one's embedding is NaN, one's is Inf. A request that holds them fails, alone; what runs
in the same steps answers as it does alone, to the last digit of its log probabilities."""
import concurrent.futures as cf
import json

import bad_files
import fixtures as F
import pytest
import requests

from test_lost_files import Server

NAN, INF = 300, 301


@pytest.fixture(scope="module", params=["F32", "Q8_0"])
def server(build, tmp_path_factory, request):
    path = tmp_path_factory.mktemp("poison") / "poison.gguf"
    variant = F.VARIANTS[0] if request.param == "F32" else next(v for v in F.VARIANTS if "Q8_0" in v.gguf_types)
    F.write_gguf(variant, str(path), request.param)
    g, size = bad_files.Gguf(path), path.stat().st_size
    name, dims, kind, offset = next(t for t in g.tensors if t[0] == b"token_embd.weight")
    data = bytearray(g.data)
    row = dims[0] * 4 if kind == 0 else dims[0] // 32 * 34  # Q8_0: a half and 32 bytes; the first block's scale is enough
    for token, f32, f16 in ((NAN, b"\0\0\xc0\x7f", b"\0\x7e"), (INF, b"\0\0\x80\x7f", b"\0\x7c")):
        at = offset + token * row
        data[at:at + 4 if kind == 0 else at + 2] = f32 if kind == 0 else f16
    with open(path, "r+b") as f:
        f.seek(size - len(g.data))
        f.write(data)
    s = Server(build, path)
    while requests.get(s.url + "/health").status_code != 200:
        pass
    yield s
    assert s.stop() == 0, s.err


def ask(server, prompt, **kw):
    return requests.post(server.url + "/v1/completions", json={"prompt": prompt, "temperature": 0, "max_tokens": 12, "ignore_eos": True, "logprobs": 5, **kw}, timeout=60)


def test_fails_alone(server):
    prompts = [F.token_ids(f"poison/{i}", 10 + 7 * i) for i in range(6)]
    alone = [json.dumps(ask(server, p).json()["choices"][0]) for p in prompts]
    assert len(set(alone)) == len(alone)
    with cf.ThreadPoolExecutor(24) as ex:
        for round in range(4):
            bad = [ex.submit(ask, server, p[:5] + [poison] + p[5:], stream=stream) for p in prompts[:3] for poison in (NAN, INF) for stream in (False, True)]
            good = [ex.submit(ask, server, p) for p in prompts * 2]
            for b in bad:
                r = b.result()
                assert r.status_code == 500 and r.json()["error"]["code"] == "numeric_error", r.text
            assert [json.dumps(g.result().json()["choices"][0]) for g in good] == alone * 2
    assert server.p.poll() is None


def test_its_blocks_are_forgotten(server):
    """A prefix that was computed beside poison is right; one with poison in it is never handed on."""
    p = F.token_ids("poison/prefix", 48)
    want = json.dumps(ask(server, p).json()["choices"][0])
    for _ in range(3):
        assert ask(server, p + [NAN] + p).status_code == 500
        assert ask(server, [NAN] + p).status_code == 500
        assert json.dumps(ask(server, p).json()["choices"][0]) == want
