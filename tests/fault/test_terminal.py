"""A stranger's names on a terminal: no escape sequence out of a model file or of another server reaches it."""
import http.server
import json
import subprocess
import threading

import bad_files as B
import pytest

EVIL = b"\x1b[2J\x1b]52;c;ZXZpbA==\x07\nname\xff\xc2\x9b31m"


def harmless(out):
    text = out.decode()  # strictly
    return not any(c < " " and c != "\n" or "\x7f" <= c <= "\x9f" for c in text)


@pytest.mark.parametrize("command", ["show", "show -v", "show --json", "tokenize -v", "list --model-dir"])
def test_model_files(build, tmp_path, command):
    m = B.Maker(tmp_path / "made")
    g = B.Gguf(m.good)
    tokens = list(g.kv["tokenizer.ggml.tokens"][1][1])
    tokens[30] = EVIL
    g.kv.update({"general.name": (B.STR, EVIL), "general.basename": (B.STR, EVIL), "tokenizer.ggml.tokens": (B.ARR, (B.STR, tokens)),
                 "x\x1b[2J\n": (B.STR, EVIL), "list\x1b[2J": (B.ARR, (B.STR, [EVIL, EVIL]))})
    g.tensors.append([EVIL, [8], 0, 0])
    path = tmp_path / "models" / "evil\x1b[2J.gguf"
    path.parent.mkdir()
    path.write_bytes(g.bytes())
    args = command.split() + [path.parent if "list" in command else path]
    if command.startswith("tokenize"):
        args = ["tokenize", path, "hi"]
    done = subprocess.run([build / "rocmforge", *map(str, args)], capture_output=True, stdin=subprocess.DEVNULL, timeout=60, env={"HOME": str(tmp_path), "PATH": ""})
    assert done.returncode in (0, 3) and harmless(done.stdout) and harmless(done.stderr), done


def test_ps_of_a_hostile_server(build):
    """`ps` asks whoever listens there: a line and an exit code, whatever comes back."""
    evil = EVIL.decode("latin-1")
    listing = {"data": [{"id": evil, "root": evil, "max_model_len": 1e300, "meta": {"architecture": evil, "quantization": evil, "size": -5}}, 7, None, {"meta": {}}]}
    bodies = [json.dumps(listing).encode(), b"", b"[" * 200_000, b'{"data":7}', b'{"data":[' + b"{}," * 1000 + b"{}]}", b"\xff\xfe", b"vllm:num_requests_running"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.end_headers()
            self.wfile.write(self.server.body if "models" in self.path else b"vllm:num_requests_running{" + EVIL * 20 + b"} 1e999 \n" * 50)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for body in bodies:
        server.body = body
        done = subprocess.run([build / "rocmforge", "ps", "--port", str(server.server_port)], capture_output=True, timeout=60)
        assert done.returncode in (0, 1) and harmless(done.stdout) and harmless(done.stderr), (body[:80], done)
    server.shutdown()
    server.server_close()
