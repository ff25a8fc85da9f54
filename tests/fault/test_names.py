"""Names in requests are compared with what is listed; they never become a path. And a listed model that lost its file comes back
with its file."""
import os
import time

import fixtures as F
import pytest
import requests

from test_lost_files import Server, cut

STRANGE = ["../tiny.gguf", "./tiny.gguf", "/etc/passwd", "/proc/self/environ", "/dev/random", "..", ".", "", "tiny/../tiny", "tiny\0", "%2e%2e%2ftiny",
           "a" * 5000, "\n{\"level\":\"error\"}", "C:\\tiny", "file:///etc/passwd", "\u202egguf", "outside", "~/models/outside"]


@pytest.fixture
def served(build, tmp_path):
    """serve without a model; tiny is listed, outside.gguf lies beside the folder."""
    home, models = tmp_path / "home", tmp_path / "models"
    home.mkdir(), models.mkdir()
    F.write_gguf(F.VARIANTS[0], str(models / "tiny.gguf"), "F32")
    F.write_gguf(F.VARIANTS[0], str(tmp_path / "outside.gguf"), "F32")
    s = Server(build, "--model-dir", models, env={"HOME": str(home), "XDG_CACHE_HOME": str(home), "XDG_DATA_HOME": str(home), "ROCMFORGE_MODEL_PATH": ""})
    s.models, s.outside = models, tmp_path / "outside.gguf"
    yield s
    assert s.stop() == 0, s.err
    assert not any("\x1b" in line or '\n{"level"' in line for line in s.err)


def test_names_never_become_paths(served):
    name = requests.get(served.url + "/v1/models").json()["data"][0]["id"]
    body = served.body(max_tokens=2)
    assert requests.post(served.url + "/v1/completions", json={**body, "model": name}).status_code == 200
    for strange in STRANGE + [str(served.outside), "../outside.gguf", str(served.models / "tiny.gguf"), "/nowhere/at/all.gguf"]:
        for path in ("/v1/completions", "/tokenize"):
            r = requests.post(served.url + path, json={**(body if "comp" in path else {"prompt": "x"}), "model": strange})
            want = (400, None) if "\0" in strange else (404, "model_not_found")
            assert (r.status_code, r.json()["error"]["code"]) == want, (strange, r.text)
        if strange.isascii() and strange.isprintable() and strange not in ("", ".", "..", "./tiny.gguf", "../tiny.gguf"):
            r = requests.get(served.url + "/v1/models/" + requests.utils.quote(strange, safe=""))
            assert r.status_code in (404, 400, 414, 431), (strange, r.text)
    assert requests.get(served.url + "/health").status_code == 200


def test_what_exists_is_not_told(served):
    """The answer for a file that is there is that for one that is not."""
    def answer(name):
        r = requests.post(served.url + "/v1/completions", json={**served.body(), "model": name})
        return r.status_code, r.json()["error"]["message"].replace(name, "NAME")
    there, absent = str(served.outside), str(served.outside.with_name("outsidf.gguf"))
    assert answer(there) == answer(absent)


def test_a_lost_model_comes_back(served):
    name = requests.get(served.url + "/v1/models").json()["data"][0]["id"]
    path, body = served.models / "tiny.gguf", {**served.body(max_tokens=4), "model": name}
    want = requests.post(served.url + "/v1/completions", json=body).json()["choices"][0]["text"]
    kept = path.read_bytes()
    cut(path)
    for _ in range(2):
        assert requests.post(served.url + "/v1/completions", json=body).status_code >= 400
    new = path.with_name("new.part")
    new.write_bytes(kept)
    os.rename(new, path)
    for _ in range(40):  # the list of models may be some seconds old
        r = requests.post(served.url + "/v1/completions", json=body)
        if r.status_code == 200:
            break
        time.sleep(0.25)
    assert r.json()["choices"][0]["text"] == want
