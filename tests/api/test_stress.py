"""Hundreds of clients at once that stay, pause, leave politely or not: nothing hangs, nothing is left behind."""
import asyncio
import json
import random
import re

import pytest

from rfapi import until

SEED = 20260101


def request(rng):
    body = json.dumps({"stream": rng.random() < 0.6, "n": rng.randint(1, 3), "max_tokens": rng.randint(1, 300), "ignore_eos": True,
                       "messages": [{"role": "user", "content": f"@delay={rng.choice([0, 1, 3])} abc"}]}).encode()
    return (b"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
            b"Content-Length: %d\r\n\r\n" % len(body)) + body


async def read_answer(r):
    head = await r.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200"), head
    if b"chunked" not in head:
        json.loads(await r.readexactly(int(re.search(rb"Content-Length: (\d+)", head)[1])))
        return
    data = b""
    while n := int((await r.readuntil(b"\r\n")).strip(), 16):
        data += (await r.readexactly(n + 2))[:-2]
    await r.readexactly(2)
    assert data.endswith(b"data: [DONE]\n\n")


async def client(port, rng, count):
    r, w = await asyncio.open_connection("127.0.0.1", port)
    try:
        for _ in range(3):
            w.write(request(rng))
            await w.drain()
            if rng.random() < 0.3:
                await asyncio.sleep(rng.random() * 0.5)
                count["left"] += 1
                w.transport.abort() if rng.random() < 0.5 else None
                return
            await read_answer(r)
            count["answered"] += 1
    finally:
        w.close()


@pytest.mark.fake
def test_stress(launch):
    s = launch("--running", 128, "--queue", 4000, "--max-sequences", 5000)
    rng, count = random.Random(SEED), {"left": 0, "answered": 0}

    async def main():
        await asyncio.wait_for(asyncio.gather(*[client(s.port, rng, count) for _ in range(400)]), 300)

    asyncio.run(main())
    assert s.wait_idle()
    assert count["left"] > 150 and count["answered"] > 400, count
    assert until(lambda: s.metric("rocmforge_http_connections") <= 2)
    assert s.stop() == 0 and "Sanitizer" not in s.err, s.err
