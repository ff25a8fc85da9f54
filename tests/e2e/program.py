"""What the tests of commands share: a tiny model, and the program as `make install` would leave it, with that model as the one
that ships and a home of its own."""
import os
import re
import shutil
import signal
import subprocess
import threading

import fixtures as F

OURS = ("XDG_DATA_HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_STATE_HOME", "HF_HUB_CACHE", "HF_HOME", "OLLAMA_MODELS", "LLAMA_CACHE")
TEMPLATE = os.path.join(os.path.dirname(__file__), "chat.jinja")


def tiny(path, name="llama-F32-gguf"):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    for case, v, t, _ in F.cases():
        if case == name:
            F.write_case(case, v, t, str(path))
    return str(path)


class Program:
    def __init__(self, build, root, shipped=True):
        self.root, self.home, self.cwd = root, root / "home", root / "cwd"
        self.exe = root / "bin/rocmforge"
        for d in (self.home, self.cwd, root / "bin"):
            d.mkdir(parents=True)
        shutil.copy(os.path.realpath(build / "rocmforge"), self.exe)
        if shipped:
            tiny(str(root / "share/rocmforge/rocmforge-demo.gguf"))

    def env(self, **extra):
        env = {k: v for k, v in os.environ.items() if k not in OURS and not k.startswith("ROCMFORGE_")}
        return {**env, "HOME": str(self.home), **extra}

    def run(self, *args, code=0, stdin="", **env):
        done = subprocess.run([self.exe, *map(str, args)], input=stdin.encode(), capture_output=True, timeout=120, cwd=self.cwd,
                              env=self.env(**env))
        err = done.stderr.decode()
        assert done.returncode == code, f"exit {done.returncode}, expected {code}: {err[-2000:]}"
        assert "Sanitizer" not in err and "runtime error" not in err, err[-4000:]
        return done.stdout.decode(errors="replace"), err

    def serve(self, *args, **env):
        return Server(self, args, env)


class Server:
    def __init__(self, program, args, env):
        self.p = subprocess.Popen([program.exe, "serve", "--port", "0", *map(str, args)], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                  text=True, errors="replace", cwd=program.cwd, env=program.env(**env))
        self.err = []
        self.reader = threading.Thread(target=lambda: self.err.extend(self.p.stderr), daemon=True)
        self.reader.start()
        line = self.p.stdout.readline()
        found = re.search(r"http://\S+?:(\d+)", line)
        assert found, (line, self.p.poll(), "".join(self.err))
        self.url, self.port = found.group(0), found.group(1)

    def stop(self):
        if self.p.poll() is None:
            self.p.send_signal(signal.SIGTERM)
        code = self.ended(60)
        assert "Sanitizer" not in "".join(self.err), "".join(self.err)[-4000:]
        return code

    def ended(self, seconds):
        """The exit status, once all that was written to standard error is read."""
        code = self.p.wait(seconds)
        self.reader.join(seconds)
        return code
