"""The page at / as bytes: types, compression, caching, the policy that keeps it to this server; and what it may not open."""
import gzip
import re

import pytest
import requests

FILES = ["web/app.js", "web/style.css", "web/icon.svg"]


def plain(server, path, **headers):
    return requests.get(f"{server.url}/{path}", headers={"Accept-Encoding": "identity", **headers})


def test_page_and_its_files(server):
    page = plain(server, "")
    assert page.status_code == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "<title>ROCmForge</title>" in page.text
    seen, todo, total = set(), ["", *re.findall(r'(?:href|src)="(web/[^"]+)"', page.text)], 0
    while todo:  # everything that the page and its modules name is there
        path = todo.pop()
        if path in seen:
            continue
        seen.add(path)
        r = plain(server, path)
        assert r.status_code == 200, path
        total += len(r.content)
        todo += ["web/" + m for m in re.findall(r"from '\./([\w.]+)'", r.text)]
    print(len(seen), "files", total, "bytes")
    assert seen >= {"", *FILES}
    assert 50_000 < total < 150_000


@pytest.mark.parametrize("path", ["", *FILES])
def test_gzip_holds_the_same(server, path):
    whole = plain(server, path)
    for accept in ("gzip", "deflate, GZIP;q=0.5", "br , gzip ; q=1"):
        r = requests.get(f"{server.url}/{path}", headers={"Accept-Encoding": accept}, stream=True)
        assert r.headers["Content-Encoding"] == "gzip" and r.headers["ETag"] != whole.headers["ETag"]
        assert gzip.decompress(r.raw.read(decode_content=False)) == whole.content
    for accept in ("gzip;q=0", "gzip; q=0.000", "br", "", "identity, gzip;q=0", "xgzip"):
        r = requests.get(f"{server.url}/{path}", headers={"Accept-Encoding": accept})
        assert "Content-Encoding" not in r.headers and r.content == whole.content
        assert "Accept-Encoding" in r.headers["Vary"]


@pytest.mark.parametrize("accept", ["identity", "gzip"])
def test_not_sent_twice(server, accept):
    tag = plain(server, "", **{"Accept-Encoding": accept}).headers["ETag"]
    for sent in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        r = plain(server, "", **{"Accept-Encoding": accept, "If-None-Match": sent})
        assert r.status_code == 304 and not r.content and r.headers["ETag"] == tag, sent
    for sent in ('"other"', tag.strip('"'), tag[:-2] + '"', ""):
        assert plain(server, "", **{"Accept-Encoding": accept, "If-None-Match": sent}).status_code == 200, sent


@pytest.mark.parametrize("path", ["", *FILES])
def test_headers_keep_it_in(server, path):
    h = plain(server, path).headers
    policy = dict(p.strip().split(" ", 1) for p in h["Content-Security-Policy"].split(";"))
    assert policy["default-src"] == "'none'" and policy["frame-ancestors"] == "'none'" and policy["base-uri"] == "'none'"
    for kind in ("script-src", "style-src", "img-src", "connect-src"):
        assert policy[kind] == "'self'"
    assert policy["require-trusted-types-for"] == "'script'" and policy["trusted-types"] == "'none'"
    assert h["X-Content-Type-Options"] == "nosniff" and h["X-Frame-Options"] == "DENY" and h["Referrer-Policy"] == "no-referrer"
    assert h["Cache-Control"] == "no-cache"


def test_head_and_methods(server):
    r = requests.head(server.url + "/", headers={"Accept-Encoding": "identity"})
    assert r.status_code == 200 and int(r.headers["Content-Length"]) == len(plain(server, "").content) and not r.content
    assert requests.post(server.url + "/", json={}).status_code == 405
    assert requests.put(server.url + "/web/app.js", data=b"x").status_code == 405


def test_nothing_else_is_a_file(server):
    for path in ("web/", "web/none.js", "web/../internal.h", "web/%2e%2e/web.c", "web//app.js", "web/app.js/", "web/APP.JS", "index.html"):
        s = requests.Session()
        url = requests.Request("GET", server.url).prepare()
        url.url = f"{server.url}/{path}"  # as it stands, not made tidy
        r = s.send(url)
        assert r.status_code == 404 and r.json()["error"]["code"] == "not_found", path


def test_open_where_a_key_is_wanted(launch):
    s = launch("--key", "sesame")
    assert plain(s, "").status_code == 200 and plain(s, "web/app.js").status_code == 200
    assert requests.get(s.url + "/v1/models").status_code == 401 and requests.get(s.url + "/metrics").status_code == 401
    assert requests.get(s.url + "/other").status_code == 401


def test_host_is_checked(server):
    for path in ("", "web/app.js"):
        assert plain(server, path, Host="evil.example").status_code == 403
        assert plain(server, path, Host="localhost:1").status_code == 200
