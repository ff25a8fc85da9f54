"""Random requests, seeded: whatever comes, the answer is JSON and never a 5xx, and a 400 says what is wrong."""
import json
import random

import requests

SEED = 20260101
FIELDS = ["model", "messages", "prompt", "n", "best_of", "max_tokens", "max_completion_tokens", "min_tokens", "stop", "temperature",
          "top_p", "top_k", "min_p", "seed", "logit_bias", "stream", "stream_options", "logprobs", "top_logprobs", "echo", "suffix",
          "tools", "tool_choice", "response_format", "chat_template_kwargs", "stop_token_ids", "ignore_eos", "user", "priority",
          "cache_salt", "timeout", "add_generation_prompt", "add_special_tokens", "reasoning_effort", "documents", "tokens", "x\u0000y"]


def value(rng, depth=0):
    kind = rng.randrange(12 if depth < 4 else 9)
    if kind < 9:
        return [None, True, False, rng.randrange(-3, 300), rng.choice([2**31, 2**53, -2**63, 2**63 - 1]), rng.random() * 4 - 1,
                rng.choice(["", "x", "user", "\u0000", "\U0001F44B", "auto", "<|im_end|>", "a" * 5000]), [], {}][kind]
    if kind == 9:
        return [value(rng, depth + 1) for _ in range(rng.randrange(4))]
    if kind == 10:
        return {rng.choice(FIELDS + ["role", "content", "type", "text", "5"]): value(rng, depth + 1) for _ in range(rng.randrange(4))}
    return [{"role": rng.choice(["user", "assistant", "tool", "system", 1]), "content": value(rng, depth + 1)}]


def check(r):
    assert r.status_code in (200, 400, 404, 413), (r.status_code, r.request.body[:500], r.text[:500])
    if r.status_code != 200:
        e = r.json()["error"]
        assert set(e) == {"message", "type", "param", "code"} and e["message"]


def test_random_fields(server):
    rng, s = random.Random(SEED), requests.Session()
    for _ in range(600):
        path = rng.choice(["/v1/chat/completions", "/v1/completions", "/tokenize", "/detokenize"])
        body = {"messages": [{"role": "user", "content": "hi"}]} if "chat" in path else {"prompt": "hi"} if "deto" not in path else {"tokens": [1]}
        body["max_tokens"] = 3
        for _ in range(rng.randrange(1, 4)):
            body[rng.choice(FIELDS)] = value(rng)
        check(s.post(server.url + path, json=body))


def test_random_bytes(server):
    rng, s = random.Random(SEED), requests.Session()
    good = json.dumps({"messages": [{"role": "user", "content": [{"type": "text", "text": "h\u00e9"}]}], "max_tokens": 3, "n": 2,
                       "logit_bias": {"5": 1.5}, "stop": ["x", "y"]}, ensure_ascii=False).encode()
    for _ in range(600):
        b = bytearray(good)
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(b))
            how = rng.randrange(4)
            if how == 0:
                b[at] = rng.randrange(256)
            elif how == 1:
                del b[at:at + rng.randrange(1, 9)]
            elif how == 2:
                b[at:at] = rng.choice([b"[", b"{", b'"', b"\\", b"\xff", b"\x00", b"9" * 30, b"null", b"e999"])
            else:
                b = b[:at] + b
            if len(b) == 0:
                b = bytearray(b" ")
        check(s.post(server.url + "/v1/chat/completions", data=bytes(b), headers={"content-type": "application/json"}))
