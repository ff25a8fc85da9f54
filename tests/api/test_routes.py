"""Everything but generation: health, models, tokenizer, metrics, methods, keys, hosts, CORS."""
import concurrent.futures as cf
import time

import pytest
import requests

from rfapi import PATIENCE, until


def err(r, status, code=None):
    assert r.status_code == status, r.text
    e = r.json()["error"]
    assert set(e) == {"message", "type", "param", "code"} and e["message"] and e["type"]
    if code:
        assert e["code"] == code
    return e


def test_health_version(server):
    assert requests.get(server.url + "/health").status_code == 200
    assert requests.get(server.url + "/version").json()["version"]
    h = requests.head(server.url + "/health")
    assert h.status_code == 200 and h.content == b""


def test_models_shape(server):
    d = requests.get(server.url + "/v1/models").json()
    assert d["object"] == "list"
    for m in d["data"]:
        assert m["object"] == "model" and isinstance(m["created"], int) and m["owned_by"] and m["max_model_len"] > 0
    e = err(requests.get(server.url + "/v1/models/no/such%2e%2e%2fmodel"), 404, "model_not_found")
    assert e["type"] == "invalid_request_error"


def test_tokenize_round_trip(server):
    text = "Grüße 👋🏽, 日本 <|im_end|>"
    r = server.post("/tokenize", {"prompt": text, "add_special_tokens": False}).json()
    assert r["count"] == len(r["tokens"]) > 0 and r["max_model_len"] > 0 and r["token_strs"] is None
    assert server.post("/detokenize", {"tokens": r["tokens"]}).json()["prompt"] == text
    r = server.post("/tokenize", {"prompt": "ab", "return_token_strs": True}).json()
    assert len(r["token_strs"]) == r["count"]
    r = server.post("/tokenize", {"messages": [{"role": "user", "content": "hi"}]}).json()
    assert r["count"] > 0
    assert server.post("/tokenize", {"prompt": ""}).status_code == 200
    assert server.post("/detokenize", {"tokens": []}).json()["prompt"] == ""
    assert err(server.post("/tokenize", {}), 400)["param"] == "prompt"
    assert err(server.post("/detokenize", {}), 400)["param"] == "tokens"
    for bad in (-1, 2**31, 2**63 - 1, 1.5, None, "1"):
        assert err(server.post("/detokenize", {"tokens": [bad]}), 400)["param"] == "tokens"


@pytest.mark.fake
def test_detokenize_half_character(server):
    assert server.post("/detokenize", {"tokens": [104, 0xC3]}).json()["prompt"] == "h\ufffd"


def test_methods(server):
    for path, allow in (("/v1/chat/completions", "POST"), ("/v1/completions", "POST"), ("/tokenize", "POST"), ("/health", "GET"), ("/v1/models", "GET")):
        wrong = requests.get if allow == "POST" else requests.post
        r = wrong(server.url + path)
        err(r, 405, "method_not_allowed")
        assert allow in r.headers["Allow"]
        assert requests.request("DELETE", server.url + path).status_code == 405
        r = requests.options(server.url + path)
        assert r.status_code == 204 and allow in r.headers["Allow"] and "Access-Control-Allow-Origin" not in r.headers
    assert requests.head(server.url + "/v1/chat/completions").status_code == 405


def test_unknown_paths(server):
    for path in ("/nothing", "//v1//models", "/v1/models/", "/v1/chat/completions/", "/health/x"):
        err(requests.get(server.url + path), 404)
    assert requests.get(server.url + "/health?x=1").status_code == 200


def test_pages_of_other_sites(server):
    """A browser says that a page from elsewhere asks: it could not read the answer, but should not make us compute either."""
    u = server.url + "/v1/chat/completions"
    good = b'{"messages":[{"role":"user","content":"x"}],"max_tokens":2}'
    err(requests.post(u, data=good, headers={"sec-fetch-site": "cross-site"}), 403)
    for site in ("same-origin", "same-site", "none"):
        assert requests.post(u, data=good, headers={"sec-fetch-site": site, "content-type": "application/json"}).status_code == 200
    assert requests.get(server.url + "/health", headers={"sec-fetch-site": "cross-site"}).status_code == 200


def test_types(server):
    u = server.url + "/v1/chat/completions"
    good = b'{"messages":[{"role":"user","content":"x"}],"max_tokens":2}'
    for t in ("application/json", "application/json; charset=utf-8", "APPLICATION/JSON"):
        assert requests.post(u, data=good, headers={"content-type": t}).status_code == 200
    for t in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=x", "application/jsonx"):
        err(requests.post(u, data=good, headers={"content-type": t}), 415)
    err(requests.post(u, data=good, headers={"content-type": "application/json", "content-encoding": "gzip"}), 415)


@pytest.mark.parametrize("text", [
    b"", b"{", b"[]", b"3", b"null", b'{"a":1}x', b"\xff\xfe", b'{"model":"\xff"}', b'{"a":"\\ud800"}', b'{"a":01}', b"{'a':1}",
    b'{"messages":[{"role":"user","content":"\xc0\xaf"}]}', b'{"a":NaN}', b"\x00"])
def test_bad_json(server, text):
    s = requests.Session()
    r = s.post(server.url + "/v1/chat/completions", data=text, headers={"content-type": "application/json"})
    err(r, 400)
    assert s.get(server.url + "/health").status_code == 200


@pytest.mark.parametrize("unit", ["[", '{"a":', '[{"a":'])
def test_depth_bombs(server, unit):
    for n in (101, 3000, 1_000_000):
        body = '{"messages":' + unit * n
        r = requests.post(server.url + "/v1/chat/completions", data=body, headers={"content-type": "application/json"})
        assert "nesting" in err(r, 400)["message"]
    r = requests.post(server.url + "/v1/completions", data='{"prompt":[' + "0," * 3_000_000 + "0]}", headers={"content-type": "application/json"})
    err(r, 400)


def test_request_id(server):
    assert requests.get(server.url + "/health", headers={"x-request-id": "abc-1.2:3_X"}).headers["x-request-id"] == "abc-1.2:3_X"
    for bad in ("a" * 200, "a b", "x\ty", '"'):
        got = requests.get(server.url + "/health", headers={"x-request-id": bad}).headers["x-request-id"]
        assert got.startswith("req_") and len(got) == 36


def test_metrics_parse(server):
    from prometheus_client.parser import text_string_to_metric_families
    server.chat("x", max_tokens=2)
    r = requests.get(server.url + "/metrics")
    assert r.headers["content-type"].startswith("text/plain; version=0.0.4")
    fam = {f.name: f for f in text_string_to_metric_families(r.text)}
    for name in ("vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc", "vllm:cache_config_info",
                 "vllm:prompt_tokens", "vllm:generation_tokens", "vllm:request_success", "vllm:num_preemptions",
                 "vllm:prefix_cache_queries", "vllm:prefix_cache_hits", "vllm:admission_rejections",
                 "vllm:time_to_first_token_seconds", "vllm:inter_token_latency_seconds", "vllm:e2e_request_latency_seconds",
                 "vllm:request_queue_time_seconds", "vllm:request_prefill_time_seconds", "vllm:request_decode_time_seconds",
                 "vllm:request_inference_time_seconds", "vllm:iteration_tokens_total", "vllm:lora_requests_info",
                 "llamacpp:prompt_tokens", "llamacpp:prompt_seconds", "llamacpp:tokens_predicted", "llamacpp:tokens_predicted_seconds",
                 "llamacpp:prompt_tokens_seconds", "llamacpp:predicted_tokens_seconds", "llamacpp:requests_processing", "llamacpp:requests_deferred",
                 "llamacpp:n_decode", "llamacpp:n_busy_slots_per_decode", "llamacpp:n_tokens_max",
                 "sglang:num_queue_reqs", "sglang:num_running_reqs", "sglang:token_usage",
                 "vllm:request_prompt_tokens", "vllm:request_generation_tokens", "rocmforge_http_requests", "rocmforge_build_info"):
        assert name in fam or name + "_total" in fam, name
    names = [line.split("{")[0].split(" ")[0] for line in r.text.splitlines() if line and line[0] != "#"]
    assert len([x for x in r.text.splitlines() if x.startswith("# TYPE")]) == len(set(x for x in r.text.splitlines() if x.startswith("# TYPE")))
    assert names


def test_too_large(server):
    r = requests.post(server.url + "/v1/completions", data=b'{"prompt":"' + b"a" * 100_000_000 + b'"}', headers={"content-type": "application/json"})
    err(r, 413, "request_too_large")

    def chunks():
        for _ in range(40):
            yield b"a" * 1_000_000
    r = requests.post(server.url + "/v1/completions", data=chunks(), headers={"content-type": "application/json"})
    err(r, 413, "request_too_large")


@pytest.mark.fake
def test_keys(launch):
    s = launch("--key", "sk-one", "--key", "sk-two")
    for path in ("/v1/models", "/version", "/metrics", "/nothing", "/v1/models/x"):
        r = requests.get(s.url + path)
        e = err(r, 401, "invalid_api_key")
        assert "Incorrect API key provided" in e["message"] and r.headers["WWW-Authenticate"] == "Bearer"
    assert requests.get(s.url + "/health").status_code == 200
    for h in ({"authorization": "Bearer sk-one"}, {"authorization": "bearer sk-two"}, {"authorization": "BEARER  sk-two"}, {"x-api-key": "sk-one"}):
        assert requests.get(s.url + "/v1/models", headers=h).status_code == 200
    for h in ({"authorization": "Bearer sk-on"}, {"authorization": "sk-one"}, {"authorization": "Basic sk-one"}, {"x-api-key": ""},
              {"authorization": "Bearer "}, {"authorization": "Bearer sk-one2"}):
        r = requests.get(s.url + "/v1/models", headers=h)
        err(r, 401)
        assert "sk-on" not in r.text
    r = s.chat("x")
    err(r, 401)
    assert requests.options(s.url + "/v1/models").status_code == 204


@pytest.mark.fake
@pytest.mark.parametrize("isolate", [0, 1])
def test_cache_salt(launch, isolate):
    s = launch("--key", "sk-one", "--key", "sk-two", "--isolate", isolate)

    def salt(key, **kw):
        h = {"authorization": f"Bearer {key}"}
        r = s.post("/v1/completions", {"prompt": "@salt", "max_tokens": 21, **kw}, headers=h)
        return r.json()["choices"][0]["text"]

    one, two = salt("sk-one"), salt("sk-two")
    assert (one != two) == bool(isolate) and (one == "salt=" + "0" * 16) == (not isolate)
    mine = salt("sk-one", cache_salt="a")
    assert mine == salt("sk-one", cache_salt="a") and len({one, mine, salt("sk-one", cache_salt="b")}) == 3
    assert (mine != salt("sk-two", cache_salt="a")) == bool(isolate)


@pytest.mark.fake
def test_host_check(launch, server):
    for host in ("localhost", "localhost:1234", "127.0.0.1", "127.9.9.9:80", "[::1]:5", "LOCALHOST.", "app.localhost"):
        assert requests.get(server.url + "/health", headers={"host": host}).status_code == 200, host
    for host in ("evil.test", "127.0.0.1.evil.test", "localhost.evil.test", "[::2]", "10.0.0.1", "", "[::1"):
        assert requests.get(server.url + "/health", headers={"host": host}).status_code == 403, host
    s = launch("--allow-host", "box.lan")
    assert requests.get(s.url + "/health", headers={"host": "box.lan:80"}).status_code == 200
    assert requests.get(s.url + "/health", headers={"host": "evil.test"}).status_code == 403
    s = launch("--host", "0.0.0.0")
    assert requests.get(s.url + "/health", headers={"host": "any.test"}).status_code == 200


@pytest.mark.fake
def test_cors(launch, server):
    h = {"origin": "https://app.test", "access-control-request-method": "POST", "access-control-request-headers": "authorization,content-type"}
    assert "access-control-allow-origin" not in requests.get(server.url + "/health", headers=h).headers
    s = launch("--cors", "https://app.test", "--key", "k")
    r = requests.options(s.url + "/v1/chat/completions", headers=h)
    assert r.status_code == 204 and r.headers["access-control-allow-origin"] == "https://app.test"
    assert "authorization" in r.headers["access-control-allow-headers"] and "POST" in r.headers["access-control-allow-methods"]
    assert requests.get(s.url + "/health", headers=h).headers["access-control-allow-origin"] == "https://app.test"
    assert "access-control-allow-origin" not in requests.get(s.url + "/health", headers={"origin": "https://evil.test"}).headers


@pytest.mark.fake
def test_loading(launch, tmp_path):
    s = launch("--gate", tmp_path / "loaded", ready=False)
    r = requests.get(s.url + "/health")
    assert err(r, 503)["message"] == "Loading model" and r.headers["Retry-After"]
    assert requests.get(s.url + "/v1/models").json()["data"][0]["id"] == "fake"
    r = s.chat("x")
    err(r, 503, "loading")
    assert r.headers["Retry-After"]
    (tmp_path / "loaded").touch()
    assert until(lambda: requests.get(s.url + "/health").status_code == 200)
    assert s.chat("x").status_code == 200


@pytest.mark.fake
def test_drain(launch):
    s = launch("--drain", PATIENCE)
    with cf.ThreadPoolExecutor(4) as ex:
        running = [ex.submit(s.chat, "@len=100 @delay=30", stream=i % 2 == 0) for i in range(4)]
        assert until(lambda: s.running() == 4)
        s.proc.terminate()
        assert until(lambda: requests.get(s.url + "/health").status_code == 503)
        assert err(requests.get(s.url + "/health"), 503)["code"] == "shutting_down"
        r = s.chat("x")
        err(r, 503, "shutting_down")
        assert r.headers["Connection"] == "close" and r.headers["Retry-After"]
        for f in running:
            assert f.result().status_code == 200
        assert "[DONE]" in running[0].result().text
    assert s.proc.wait(PATIENCE) == 0


@pytest.mark.fake
def test_drain_times_out(launch):
    s = launch("--drain", 0.3)
    with cf.ThreadPoolExecutor(2) as ex:
        whole, stream = [ex.submit(s.chat, "@len=4000 @delay=20", stream=x) for x in (False, True)]
        assert until(lambda: s.running() == 2)
        time.sleep(0.1)
        t = time.time()
        s.proc.terminate()
        err(whole.result(), 503, "shutting_down")
        last = stream.result().text.strip().split("\n\n")[-1]
        assert '"error"' in last and "[DONE]" not in stream.result().text
        assert s.proc.wait(PATIENCE) == 0 and time.time() - t < 30  # alone they would take 80 s


@pytest.mark.fake
def test_second_signal(launch):
    s = launch("--drain", 80)
    with cf.ThreadPoolExecutor(1) as ex:
        f = ex.submit(s.chat, "@len=4000 @delay=20")
        assert until(lambda: s.running() == 1)
        s.proc.terminate()
        time.sleep(0.2)
        t = time.time()
        s.proc.terminate()
        err(f.result(), 503)
        assert s.proc.wait(PATIENCE) == 0 and time.time() - t < 30  # alone they would take 80 s


@pytest.mark.fake
def test_device_error_ends_it(launch):
    s = launch()
    err(s.chat("@error=device"), 500, "device_error")
    assert s.proc.wait(PATIENCE) == 3


@pytest.mark.fake
def test_log_lines(launch):
    s = launch("--log", 2, "--key", "sk-secret")
    h = {"authorization": "Bearer sk-secret", "x-request-id": "my-id"}
    s.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "private words"}]}, headers=h)
    requests.get(s.url + "/nothing%0a{\"level\":\"x\"}", headers=h)
    requests.get(s.url + "/metrics", headers=h)
    requests.get(s.url + "/")
    assert requests.get(s.url + "/metrics").status_code == 401
    assert s.stop() == 0
    # without the probes, scrapes and files that went well; a probe before the model was there did not
    lines = [line for line in s.err.strip().split("\n") if "GET /health 503" not in line]
    assert len(lines) == 3 and "/metrics 401" in lines[2], s.err
    assert "my-id POST /v1/chat/completions 200 prompt=" in lines[0]
    assert "private" not in s.err and "sk-secret" not in s.err
    s = launch("--log", 3)
    requests.get(s.url + "/")
    assert s.stop() == 0 and "GET /health 200" in s.err and "GET / 200" in s.err
