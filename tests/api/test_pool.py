"""A server without a fixed model: requests load what they name, one model at a time, nobody answered by another."""
import concurrent.futures
import json
import threading
import time

import pytest
import requests

from rfapi import PATIENCE

pytestmark = pytest.mark.fake


@pytest.fixture
def pool(launch):
    return launch("--pool", 3, "--load", 0.15)


def ask(server, model, text="hi", **kw):
    body = {"messages": [{"role": "user", "content": text}], **kw}
    return requests.post(server.url + "/v1/chat/completions", json={"model": model, **body} if model else body, timeout=PATIENCE)


def loaded(server):
    return [m["id"] for m in requests.get(server.url + "/v1/models").json()["data"] if m["meta"]]


def test_what_is_listed_and_what_is_loaded(pool):
    ids = [m["id"] for m in requests.get(pool.url + "/v1/models").json()["data"]]
    assert ids == ["m0", "m1", "m2", "broken"] and loaded(pool) == []
    assert requests.get(pool.url + "/health").status_code == 200
    assert "vllm:num_requests_running" not in requests.get(pool.url + "/metrics").text
    r = ask(pool, "m1")
    assert r.status_code == 200 and r.json()["model"] == "m1" and loaded(pool) == ["m1"]
    assert 'model_name="m1"' in requests.get(pool.url + "/metrics").text
    assert requests.get(pool.url + "/v1/models/M1").json()["id"] == "m1"  # the listed spelling
    assert ask(pool, "M2").json()["model"] == "m2" and loaded(pool) == ["m2"]


def test_a_slow_disk_does_not_stop_the_others(launch):
    s = launch("--pool", 2, "--list", 3)
    listing = threading.Thread(target=requests.get, args=[s.url + "/v1/models"])
    began = time.monotonic()
    listing.start()
    time.sleep(0.2)
    assert requests.get(s.url + "/health").status_code == 200
    assert listing.is_alive() and time.monotonic() - began < 3  # answered while the list was being made
    listing.join()
    assert time.monotonic() - began >= 3


def test_no_name_is_the_default_then_the_one_in_service(pool):
    assert ask(pool, None).json()["model"] == "m0"
    assert ask(pool, "m2").json()["model"] == "m2"
    assert ask(pool, None).json()["model"] == "m2"


@pytest.mark.parametrize("route", ["/v1/chat/completions", "/v1/completions", "/tokenize"])
def test_unknown_names(pool, route):
    r = requests.post(pool.url + route, json={"model": "m7", "messages": [{"role": "user", "content": "x"}], "prompt": "x"})
    e = r.json()["error"]
    assert r.status_code == 404 and e["code"] == "model_not_found" and e["param"] == "model" and "nearest is m0" in e["message"]
    assert requests.get(pool.url + "/v1/models/m7").status_code == 404
    assert requests.post(pool.url + route, json={"model": 7, "prompt": "x"}).status_code == 400
    assert loaded(pool) == []


def test_running_requests_end_before_their_model_goes(pool):
    """A long stream of m0, then m1, then m0 again: served in that order, and the stream is whole."""
    order, words = [], []
    ask(pool, "m0")

    def stream():
        with requests.post(pool.url + "/v1/chat/completions", json={"model": "m0", "stream": True, "messages": [
                {"role": "user", "content": "@len=40 @delay=50"}]}, stream=True, timeout=PATIENCE) as r:
            for line in r.iter_lines():
                if line.startswith(b"data: {"):
                    chunk = json.loads(line[6:])
                    assert chunk["model"] == "m0"
                    words.append(chunk["choices"][0]["delta"].get("content") or "")
        order.append("stream")

    def one(model):
        r = ask(pool, model)
        assert r.status_code == 200 and r.json()["model"] == model
        order.append(model)

    threads = [threading.Thread(target=stream), threading.Thread(target=one, args=["m1"]), threading.Thread(target=one, args=["m0"])]
    for t in threads:
        t.start()
        time.sleep(0.5)
    for t in threads:
        t.join()
    assert order == ["stream", "m1", "m0"] and len("".join(words)) == 40


def test_many_clients_each_get_their_model(pool):
    with concurrent.futures.ThreadPoolExecutor(16) as threads:
        names = [f"m{i % 3}" for i in range(48)]
        for name, r in zip(names, threads.map(lambda n: ask(pool, n), names)):
            assert r.status_code == 200 and r.json()["model"] == name
    assert len(loaded(pool)) == 1


def test_a_model_that_does_not_open(pool):
    ask(pool, "m0")
    r = ask(pool, "broken")
    assert r.status_code == 500 and r.json()["error"]["code"] == "model_load_failed" and "broken.gguf" in r.json()["error"]["message"]
    assert r.headers["x-should-retry"] == "false"
    assert ask(pool, "m0").json()["model"] == "m0"


def test_a_client_that_leaves_while_it_waits_loads_nothing(pool):
    ask(pool, "m0")
    hold = threading.Thread(target=ask, args=[pool, "m0", "@len=40 @delay=60"])
    hold.start()
    time.sleep(0.4)
    queued = threading.Thread(target=ask, args=[pool, "m1"])  # the loader waits for m0 to end
    queued.start()
    time.sleep(0.4)
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(pool.url + "/v1/chat/completions", json={"model": "m2", "messages": [{"role": "user", "content": "x"}]}, timeout=0.2)
    hold.join()
    queued.join()
    assert ask(pool, None).json()["model"] == "m1"
    assert pool.stop() == 0
    assert "open m1" in pool.err and "open m2" not in pool.err


def test_only_so_many_wait_for_another_model(launch):
    pool = launch("--pool", 2, "--pending", 2)
    ask(pool, "m0")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        hold = threads.submit(ask, pool, "m0", "@len=40 @delay=60")
        time.sleep(0.4)
        first = threads.submit(ask, pool, "m1")  # the loader has this one in hand
        time.sleep(0.4)
        others = [threads.submit(ask, pool, "m1").result for _ in range(5)]
        answers = [first.result(), *(r() for r in others)]
    assert hold.result().json()["model"] == "m0"
    refused = [r for r in answers if r.status_code == 503]
    assert len(refused) == 4 and all(r.json()["error"]["code"] == "queue_full" and r.headers["retry-after"] for r in refused)
    assert all(r.json()["model"] == "m1" for r in answers if r.status_code == 200)


def test_stop_while_requests_wait(launch):
    pool = launch("--pool", 2, "--load", 0.5, "--drain", 0.2)
    ask(pool, "m0")
    answers = []
    threads = [threading.Thread(target=lambda m=m: answers.append(ask(pool, m, "@len=500 @delay=20").status_code)) for m in ("m0", "m1")]
    for t in threads:
        t.start()
        time.sleep(0.2)
    assert pool.stop() == 0
    for t in threads:
        t.join()
    assert answers == [503, 503]
