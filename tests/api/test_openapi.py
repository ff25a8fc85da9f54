"""docs/openapi.json: it says what the tables of the server say, and schemathesis finds nothing where server and description
disagree: no 5xx, every answer in its shape, wrong data refused (right data may be, too: fields depend on each other).
RF_SCHEMATHESIS=N takes N examples per route instead of 5.
"""
import json
import os
import pathlib
import re
import subprocess
import sys

import pytest
import requests

ROOT = pathlib.Path(__file__).resolve().parents[2]
SPEC = json.loads((ROOT / "docs" / "openapi.json").read_text())
LETTERS = {"ChatRequest": "C", "CompletionRequest": "P", "TokenizeRequest": "T", "DetokenizeRequest": "D"}
ROW = re.compile(r'\{"(\w+)", (K_\w+), ([CPTD |]+), (\w+), ([^,]+(?:\([^)]*\))?), ([^,]+), ([^,]+), (NULL|"(?:[^"\\]|\\.)*")\}')
NUMBER = {"INT32_MAX": 2**31 - 1, "INT32_MIN": -2**31}


def fields(letter):
    source = (ROOT / "src/serve/openai_params.c").read_text()
    table = source[source.index("static const struct field fields[]"):source.index("static const char *kind_of")]
    assert len(ROW.findall(table)) == table.count("{\"") > 60
    return {r[0]: r for r in ROW.findall(table) if letter in r[2]}


@pytest.mark.parametrize("name", LETTERS)
def test_fields_agree(name):
    described, rows = SPEC["components"]["schemas"][name], fields(LETTERS[name])
    served = {k for k, r in rows.items() if r[1] not in ("K_REFUSE", "K_IGNORE")}
    assert set(described["properties"]) == served
    for field, s in described["properties"].items():
        _, kind, _, flags, _, lo, hi, _ = rows[field]
        nullable = "null" in s.get("type", []) if isinstance(s.get("type"), list) else {"type": "null"} in s.get("anyOf", []) or None in s.get("enum", [])
        assert nullable == (flags == "NULLABLE"), field
        if kind in ("K_INT", "K_FLOAT", "K_DOUBLE"):
            assert [s["minimum"], s["maximum"]] == [float(NUMBER.get(x.strip(), x)) for x in (lo, hi)], field
    for field in set(rows) - served:
        assert field in described["description"], field


def test_paths_agree():
    source = (ROOT / "src/serve/routes.c").read_text()
    rows = re.findall(r'\{"(/[^"]*)", (\w+), \w+_ALLOW,', source)
    served = {path + ("{id}" if path.endswith("/models/") else ""): "post" if m == "RF_POST" else "get" for path, m in rows if path not in ("/", "/web/")}
    assert {p: next(iter(v)) for p, v in SPEC["paths"].items()} == served


def test_answers_have_their_shape(server):
    from jsonschema import Draft202012Validator

    def check(name, r):
        assert r.status_code == 200, r.text
        Draft202012Validator({**SPEC, "$ref": f"#/components/schemas/{name}"}).validate(r.json())

    check("ChatCompletion", server.chat("x", n=2, logprobs=True, top_logprobs=3, max_tokens=4))
    check("ChatCompletion", server.chat("x"))
    check("Completion", server.complete("ab", echo=True, logprobs=2, max_tokens=3))
    check("Tokens", server.post("/tokenize", {"prompt": "abc", "return_token_strs": True}))
    check("Text", server.post("/detokenize", {"tokens": [97, 98]}))
    for name, path in (("ModelList", "/v1/models"), ("Health", "/health"), ("Version", "/version")):
        check(name, requests.get(server.url + path))


@pytest.mark.fake
@pytest.mark.slow
def test_schemathesis(launch):
    s = launch("--running", 64, "--queue", 4000, "--max-sequences", 5000)
    args = ["run", ROOT / "docs/openapi.json", "--url", s.url, "--checks", "all", "--exclude-checks", "ignored_auth,positive_data_acceptance", "--phases", "coverage,fuzzing",
            "--max-examples", os.environ.get("RF_SCHEMATHESIS", "5"), "--generation-deterministic", "--request-timeout", "60", "--no-color"]
    done = subprocess.run([pathlib.Path(sys.executable).with_name("schemathesis"), *map(str, args)], capture_output=True, text=True, timeout=600)
    print(done.stdout[-6000:])
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
    assert s.proc.poll() is None and s.wait_idle()
