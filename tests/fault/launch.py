"""Runs commands for the tests and says what each used. A process of its own, because what a child's peak of memory is
counted from is its parent's: lines of JSON in, {"code", "out", "err", "cpu", "mb"} out, both as one line."""
import json
import os
import subprocess
import sys
import tempfile
import threading

for line in sys.stdin:
    job = json.loads(line)
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        p = subprocess.Popen(job["args"], stdin=subprocess.DEVNULL, stdout=out, stderr=err, env={**os.environ, **job.get("env", {})})
        timer = threading.Timer(job.get("timeout", 60), p.kill)
        timer.start()
        _, status, used = os.wait4(p.pid, 0)
        timer.cancel()
        p.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0), err.seek(0)
        print(json.dumps({"code": p.returncode, "out": out.read().decode("latin-1"), "err": err.read().decode("latin-1"),
                          "cpu": used.ru_utime + used.ru_stime, "mb": used.ru_maxrss / 1024}), flush=True)
