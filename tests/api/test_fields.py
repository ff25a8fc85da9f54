"""Every field: honoured, or refused by name. Every wrong value: 400 that names the field."""
import json
import pathlib
import re

import pytest
import requests

from rfapi import until

PATHS = ["/v1/chat/completions", "/v1/completions"]
INTS = {"n": (1, 128), "max_tokens": (1, 2**31 - 1), "max_completion_tokens": (1, 2**31 - 1), "min_tokens": (0, 2**31 - 1),
        "top_k": (-1, 2**31 - 1), "top_logprobs": (0, 20), "priority": (-2**31, 2**31 - 1), "seed": (-2**63, 2**63 - 1)}
NULLABLE = {"n", "max_tokens", "max_completion_tokens", "top_logprobs", "seed", "temperature", "top_p", "presence_penalty",
            "frequency_penalty", "top_k", "min_p", "typical_p", "repetition_penalty", "min_tokens"}
FLOATS = {"temperature": (0, 2), "top_p": (0, 1), "min_p": (0, 1), "typical_p": (0, 1), "presence_penalty": (-2, 2),
          "frequency_penalty": (-2, 2), "repetition_penalty": (0.01, 10)}


def raw(server, path, body):
    return requests.post(server.url + path, data=body, headers={"content-type": "application/json"})


def body(path, server, field, value):
    base = f'"messages":[{{"role":"user","content":"x"}}]' if "chat" in path else '"prompt":"x"'
    if field == "top_logprobs":
        base += ',"logprobs":true'
    if field != "min_tokens":
        base += ',"max_completion_tokens":4' if field == "max_tokens" else ',"max_tokens":4'
    return f'{{"model":{json.dumps(server.model)},{base},"{field}":{value}}}'


def refused(r, field):
    assert r.status_code == 400, r.text
    e = r.json()["error"]
    assert set(e) == {"message", "type", "param", "code"} and e["type"] == "invalid_request_error"
    assert e["param"] == field, e
    assert r.headers["x-should-retry"] == "false" and r.headers["x-request-id"]


@pytest.mark.parametrize("path,field", [("/v1/chat/completions", f) for f in sorted(INTS)] +
                         [("/v1/completions", f) for f in sorted(INTS) if f != "top_logprobs"])
def test_integers(server, path, field):
    lo, hi = INTS[field]
    for value in ("-1", str(2**31), str(2**63), "-9223372036854775809", "1e400", "1.5", "null", '"1"', "true", "[1]", "{}", "1e2"):
        r = raw(server, path, body(path, server, field, value))
        try:
            number = int(value)
        except ValueError:
            number = None
        if (number is not None and lo <= number <= hi) or (value == "null" and field in NULLABLE):
            assert r.status_code == 200, (value, r.text)
        else:
            refused(r, field)


OPENAPI = json.loads((pathlib.Path(__file__).resolve().parents[2] / "docs/openapi.json").read_text())
BASE = {"/v1/chat/completions": {"messages": [{"role": "user", "content": "x"}], "logprobs": True, "max_tokens": 4}, "/v1/completions": {"prompt": "x", "max_tokens": 4},
        "/tokenize": {"prompt": "x"}, "/detokenize": {"tokens": [97]}}


def described_integers(schema, at=()):
    """Where the API's description has an integer: names of fields, "[]" for an item, and its schema."""
    if "$ref" in schema:
        schema = OPENAPI["components"]["schemas"][schema["$ref"].rsplit("/", 1)[1]]
    for kind in ("anyOf", "oneOf", "allOf"):
        for part in schema.get(kind, []):
            yield from described_integers(part, at)
    types = schema.get("type")
    if "integer" in (types if isinstance(types, list) else [types]):
        yield at, schema
    for name, part in schema.get("properties", {}).items():
        yield from described_integers(part, (*at, name))
    if "items" in schema:
        yield from described_integers(schema["items"], (*at, "[]"))


DESCRIBED = [(path, at, schema) for path, methods in OPENAPI["paths"].items() if "requestBody" in methods.get("post", {})
             for at, schema in described_integers(methods["post"]["requestBody"]["content"]["application/json"]["schema"])]


@pytest.mark.fake
@pytest.mark.parametrize("path,at,schema", DESCRIBED, ids=lambda v: v if isinstance(v, str) else ".".join(v) if isinstance(v, tuple) else "")
def test_every_described_integer(server, path, at, schema):
    """Each integer of each route with what is none, or none of its range: 400 naming the field, whole requests alone 200."""
    lo, hi = schema["minimum"], schema["maximum"]
    for value in ("-1", "-2147483649", str(2**31), str(2**32 + 1), str(2**63), "-9223372036854775809", str(2**64), "1e400", "-1e400", "1.5", "1.0", "1e2", "null", '"1"', "true", "false", "[]", "{}"):
        number = int(value) if re.fullmatch("-?[0-9]+", value) else None
        fits = lo <= number <= hi if number is not None else value == "null" and isinstance(schema["type"], list)
        if "[]" in at and fits or at == ("prompt", "[]") and value[0] == '"':
            continue  # whether a token exists is another question; prompts may be texts too
        assert set(at[1:]) <= {"[]"}
        text = "[" * (len(at) - 1) + value + "]" * (len(at) - 1)
        rest = {k: v for k, v in BASE[path].items() if k != at[0] and not (k == "max_tokens" and at[0] in ("max_completion_tokens", "min_tokens"))}
        if at[0] == "best_of":
            rest["n"] = 1
        r = raw(server, path, json.dumps(rest)[:-1] + (", " if rest else "") + f"{json.dumps(at[0])}: {text}}}")
        if fits:
            assert r.status_code == 200, (value, r.text)
        else:
            refused(r, at[0])


def test_all_integers_are_described():
    assert {p for p, _, _ in DESCRIBED} == {"/v1/chat/completions", "/v1/completions", "/detokenize"} and len(DESCRIBED) >= 21


@pytest.mark.parametrize("field", sorted(FLOATS))
def test_floats(server, field):
    lo, hi = FLOATS[field]
    for value in (lo - 0.001, hi + 0.001, "1e400", '"0.5"', "true", "[]", "-1e308") + (() if field in NULLABLE else ("null",)):
        refused(raw(server, "/v1/chat/completions", body("chat", server, field, value)), field)
    for value in (lo, hi):
        assert raw(server, "/v1/chat/completions", body("chat", server, field, value)).status_code == 200


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("field,value", [
    ("stream", '"yes"'), ("stream", "1"), ("stop", "[1]"), ("stop", '["a","b","c","d","e"]'), ("stop", '""'), ("stop", "{}"),
    ("logit_bias", "[]"), ("logit_bias", '{"x":1}'), ("logit_bias", '{"-1":1}'), ("logit_bias", '{"99999999":1}'),
    ("logit_bias", '{"1":101}'), ("logit_bias", '{"1":"a"}'), ("stop_token_ids", "[-1]"), ("stop_token_ids", "[99999999]"),
    ("stop_token_ids", "[1.5]"), ("stop_token_ids", "3"), ("ignore_eos", "1"), ("stream_options", "{}"), ("stream_options", "true"),
    ("model", "3"), ("timeout", "0"), ("timeout", "-1"), ("cache_salt", "1"),
    # refused by name
    ("response_format", '{"type":"json_schema","json_schema":{"name":"a","schema":{}}}'), ("response_format", '{"type":"json_object"}'),
    ("guided_json", "{}"), ("json_schema", "{}"), ("guided_regex", '"a"'), ("structured_outputs", "{}"), ("use_beam_search", "true"),
    ("prompt_logprobs", "1"), ("truncate_prompt_tokens", "3"), ("allowed_token_ids", "[1]"), ("bad_words", '["a"]')])
def test_wrong_or_refused(server, path, field, value):
    refused(raw(server, path, body(path, server, field, value)), field)


@pytest.mark.parametrize("field,value", [
    ("tools", [{"type": "function", "function": {"name": "f"}}]), ("tool_choice", "required"),
    ("tool_choice", {"type": "function", "function": {"name": "f"}}), ("functions", [{"name": "f"}]), ("audio", {}),
    ("modalities", ["audio"]), ("chat_template", "{{ 1 }}"), ("continue_final_message", True), ("echo", True), ("logprobs", 1),
    ("top_logprobs", 2), ("web_search_options", {}), ("chat_template_kwargs", []), ("chat_template_kwargs", {"messages": []}),
    ("chat_template_kwargs", {"bos_token": "x"}), ("messages", None), ("messages", []), ("messages", "x"), ("messages", [1]),
    ("messages", [{}]), ("messages", [{"role": "king", "content": "x"}]), ("messages", [{"role": "user"}]),
    ("messages", [{"role": "user", "content": None}]), ("messages", [{"role": "user", "content": 3}]),
    ("messages", [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]),
    ("messages", [{"role": "user", "content": [{"type": "input_audio"}]}]), ("messages", [{"role": "user", "content": ["x"]}]),
    ("messages", [{"role": "assistant", "content": None, "tool_calls": [{}]}])])
def test_chat_refused(server, field, value):
    b = {"model": server.model, "messages": [{"role": "user", "content": "x"}], field: value}
    refused(server.post("/v1/chat/completions", b), field)


@pytest.mark.parametrize("field,value", [
    ("suffix", "tail"), ("best_of", 21), ("best_of", 0), ("logprobs", 21), ("logprobs", -1), ("logprobs", True), ("echo", 1),
    ("prompt", ""), ("prompt", []), ("prompt", [[]]), ("prompt", [""]), ("prompt", None), ("prompt", 3), ("prompt", {}),
    ("prompt", [-1]), ("prompt", [99999999]), ("prompt", [1.5]), ("prompt", [1, "a"]), ("prompt", [[1], [2**31]]),
    ("max_tokens", 0), ("prompt", ["x"] * 2000)])
def test_completion_refused(server, field, value):
    refused(server.complete("x", **{field: value}) if field != "prompt" else server.complete(value), field)


def test_together(server):
    refused(server.chat("x", stream_options={"include_usage": True}), "stream_options")
    refused(server.complete("x", n=3, best_of=2), "best_of")
    refused(server.complete("x", best_of=2, stream=True), "best_of")
    refused(server.chat("x", max_tokens=3, min_tokens=4), "min_tokens")


@pytest.mark.parametrize("extra", [
    {"user": "u", "metadata": {"a": "b"}, "store": True, "service_tier": "auto", "safety_identifier": "s", "prompt_cache_key": "k",
     "verbosity": "low", "prediction": None, "parallel_tool_calls": True}, {"unknown_field": {"deep": [1]}},
    {"response_format": {"type": "text"}, "tool_choice": "none", "tools": [], "modalities": ["text"], "stop": None, "seed": None},
    {"ignore_eos": False, "min_tokens": 0, "stop_token_ids": [], "top_k": -1, "stop": []},
    {"reasoning_effort": "low", "chat_template_kwargs": {"custom": 1}, "priority": 3, "cache_salt": "s", "timeout": 60}])
def test_accepted(server, extra):
    r = server.chat("x", max_tokens=4, **extra)
    assert r.status_code == 200, r.text


@pytest.mark.fake
def test_sampling_reaches_the_engine(server):
    r = server.chat("@sampling", temperature=0.25, top_p=0.5, top_k=7, min_p=0.125, typical_p=0.75, repetition_penalty=1.5,
                    presence_penalty=-1, frequency_penalty=2, max_tokens=5, max_completion_tokens=500, min_tokens=3, stop=["§"],
                    stop_token_ids=[1, 2], logit_bias={"5": -100, "6": 1.5, "7": 3}, logprobs=True, top_logprobs=4)
    assert r.json()["choices"][0]["message"]["content"].startswith(
        "t=0.250 p=0.500 k=7 min_p=0.125 typ=0.750 rep=1.500 pres=-1.000 freq=2.000 max=500 min=3 eos=0 stop=1 ids=2 bias=3 lp=4 plp=-1")
    # the model's own recommendation where nothing is said; OpenAI's 16 tokens for completions
    assert server.chat("@sampling").json()["choices"][0]["message"]["content"].startswith("t=0.700 p=1.000 k=20")
    r = server.complete("@sampling @chunk=1000", echo=True, logprobs=2)
    assert "max=16" in r.json()["choices"][0]["text"] and "lp=2 plp=2" in r.json()["choices"][0]["text"]


@pytest.mark.fake
def test_messages(server):
    def said(messages, **kw):
        r = server.post("/v1/chat/completions", {"messages": messages, **kw})
        assert r.status_code == 200, r.text
        return r.json()["choices"][0]["message"]["content"]

    assert said([{"role": "user", "content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}]) == "echo: ab"
    assert said([{"role": "developer", "content": "d"}, {"role": "user", "content": "q"}]) == "echo: q"
    history = [{"role": "user", "content": "w"},
               {"role": "assistant", "content": None, "tool_calls": [{"id": "1", "type": "function", "function": {"name": "f", "arguments": "{\"a\":1}"}}]},
               {"role": "tool", "tool_call_id": "1", "content": "42"}, {"role": "user", "content": "z"}]
    assert said(history) == "echo: z"
    tools = [{"type": "function", "function": {"name": "f", "parameters": {}}}]
    assert said([{"role": "user", "content": "q"}], tools=tools, tool_choice="none").endswith("[tools]")
    assert said([{"role": "user", "content": "q"}], chat_template_kwargs={"enable_thinking": False}).endswith("[no_think]")
    r = server.chat("@template_error")
    refused(r, "messages")
    assert "line 3" in r.json()["error"]["message"]


@pytest.mark.fake
def test_aliases(server):
    for name in ("fake", "org/other-name"):
        r = server.post("/v1/chat/completions", {"model": name, "messages": [{"role": "user", "content": "x"}]})
        assert r.status_code == 200 and r.json()["model"] == "fake"
    for path in ("org/other-name", "org%2Fother-name"):
        assert requests.get(f"{server.url}/v1/models/{path}").json()["id"] == "org/other-name"


@pytest.mark.fake
def test_completion_shapes(server):
    a = server.complete("ab", echo=True, logprobs=2, max_tokens=1).json()["choices"][0]
    lp = a["logprobs"]
    assert a["text"] == "abe" and a["finish_reason"] == "length"
    assert lp["tokens"] == ["<|bos|>", "a", "b", "e"] and lp["token_logprobs"][0] is None and lp["top_logprobs"][0] is None
    assert all(t in top for t, top in zip(lp["tokens"][1:], lp["top_logprobs"][1:])) and len(lp["top_logprobs"][1]) == 2
    assert lp["text_offset"] == [0, 0, 1, 2]
    # as lm-eval asks
    r = server.post("/v1/completions", {"prompt": [[97, 98, 99], [100]], "echo": True, "logprobs": 1, "max_tokens": 0, "temperature": 0}).json()
    assert [c["text"] for c in r["choices"]] == ["abc", "d"] and len(r["choices"][0]["logprobs"]["token_logprobs"]) == 3
    assert r["usage"] == {"prompt_tokens": 4, "completion_tokens": 0, "total_tokens": 4, "prompt_tokens_details": {"cached_tokens": 0},
                          "completion_tokens_details": {"reasoning_tokens": 0}}
    # several prompts times n: index = prompt * n + i, and each choice its own seed
    r = server.complete(["p", "q"], n=2, seed=5, max_tokens=50).json()
    assert [c["text"] for c in r["choices"]] == ["echo: p seed=5", "echo: p seed=6", "echo: q seed=5", "echo: q seed=6"]
    r = server.complete("p", n=1, best_of=3, max_tokens=50).json()
    assert len(r["choices"]) == 1 and r["choices"][0]["logprobs"] is None and r["usage"]["completion_tokens"] == 21
    # a token that is half a character is spelled in bytes, and can be put together again
    c = server.chat("@unicode x", logprobs=True, top_logprobs=0).json()["choices"][0]
    assert b"".join(bytes(t["bytes"]) for t in c["logprobs"]["content"]).decode() == c["message"]["content"]
    assert any(t["token"] == "bytes:\\xc3" for t in c["logprobs"]["content"])
    assert server.chat("x", logprobs=True, top_logprobs=5).json()["choices"][0]["logprobs"]["content"][0]["top_logprobs"][3]["logprob"] == -9999.0


@pytest.mark.fake
def test_stop(server):
    c = server.chat("one two three", stop="two").json()["choices"][0]
    assert c["message"]["content"] == "echo: one " and c["finish_reason"] == "stop"
    c = server.chat("one two three", stop=["three", "two"], include_stop_str_in_output=True).json()["choices"][0]
    assert c["message"]["content"] == "echo: one two"
    c = server.chat("x", ignore_eos=True, max_tokens=30).json()["choices"][0]
    assert c["finish_reason"] == "length" and len(c["message"]["content"]) == 30


@pytest.mark.fake
def test_deadline_in_queue(launch):
    s = launch("--running", 1)
    holds = s.connect()
    body = b'{"messages":[{"role":"user","content":"@len=4000 @delay=50"}]}'
    holds.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    assert until(lambda: s.metric("vllm:num_requests_running") == 1)
    before = s.metric("vllm:prompt_tokens_total")
    for stream in (False, True):
        r = s.chat("x", timeout=0.2, stream=stream)
        assert r.status_code == 408 and r.json()["error"]["code"] == "deadline_exceeded"
    assert s.metric("vllm:prompt_tokens_total") == before
    holds.close()


@pytest.mark.fake
@pytest.mark.parametrize("limit", [("--running", 1, "--queue", 2), ("--running", 1, "--max-sequences", 3)])
def test_queue_full(launch, limit):
    s = launch(*limit)
    import concurrent.futures as cf
    with cf.ThreadPoolExecutor(8) as ex:
        got = [f.result() for f in [ex.submit(s.chat, "@len=20 @delay=30") for _ in range(8)]]
    codes = sorted(r.status_code for r in got)
    assert codes.count(200) >= 3 and codes.count(503) >= 1 and set(codes) == {200, 503}
    for r in got:
        if r.status_code == 503:
            assert r.headers["Retry-After"] and r.json()["error"]["code"] == "queue_full"
