"""The client of the package `websockets` against an echo server of ours: URL, and `deflate` or `plain`."""

import asyncio
import os
import sys

from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed, ConnectionClosedError, ConnectionClosedOK

URL, KIND = sys.argv[1:]
OPTIONS = {"compression": "deflate" if KIND == "deflate" else None, "max_size": 32 << 20, "proxy": None}


async def echoed(ws, message):
    await ws.send(message)
    answer = await ws.recv()
    assert type(answer) is type(message), (type(answer), type(message))
    assert answer == message, (len(answer), len(message))


async def messages():
    async with connect(URL, **OPTIONS) as ws:
        agreed = [extension.name for extension in ws.protocol.extensions]
        assert agreed == (["permessage-deflate"] if KIND == "deflate" else []), agreed
        for text in ["", "a", "é" * 70, "grüße 😀 \0 \u2028", "x" * 125, "x" * 126, "y" * 65535, "z" * 65536]:
            await echoed(ws, text)
        for size in [0, 1, 125, 126, 127, 65535, 65536, 1 << 20, 2 << 20]:
            await echoed(ws, os.urandom(size))
            await echoed(ws, b"\0" * size)


async def fragments():
    async with connect(URL, **OPTIONS) as ws:
        await ws.send(["grü", "ße", "", " 😀" * 100])
        assert await ws.recv() == "grüße" + " 😀" * 100
        parts = [os.urandom(n * 100) for n in range(50)]
        await ws.send(parts)
        assert await ws.recv() == b"".join(parts)

        async def slowly():
            for part in ["one ", "two ", "three"]:
                await (await ws.ping())
                yield part

        await ws.send(slowly())
        assert await ws.recv() == "one two three"


async def pings():
    async with connect(URL, **OPTIONS) as ws:
        await (await ws.ping())
        await (await ws.ping(b"x" * 125))
        # A flood, with messages in between: each answered, in order.
        waiters = []
        for n in range(2000):
            waiters.append(await ws.ping(str(n)))
            if n % 100 == 0:
                await ws.send(str(n))
        for n in range(0, 2000, 100):
            assert await ws.recv() == str(n)
        for waiter in waiters:
            await waiter
        await ws.pong(b"nobody has asked")
        await echoed(ws, "on")


async def many():
    async with connect(URL, **OPTIONS) as ws:

        async def send():
            for n in range(1500):
                await ws.send(f"message {n} " + "x" * (n % 500) if n % 2 else n.to_bytes(4) * (n % 300))

        sending = asyncio.create_task(send())
        for n in range(1500):
            expected = f"message {n} " + "x" * (n % 500) if n % 2 else n.to_bytes(4) * (n % 300)
            assert await ws.recv() == expected, n
        await sending


async def closes():
    for code, reason in [(1000, ""), (1001, "bye"), (3000, "grüße"), (4999, "x" * 123)]:
        ws = await connect(URL, **OPTIONS)
        await ws.close(code, reason)
        await ws.wait_closed()
        assert ws.close_code == code, ws.close_code
    ws = await connect(URL, **OPTIONS)
    await ws.send("close 4000 you asked for it")
    try:
        await ws.recv()
        raise AssertionError("it goes on")
    except ConnectionClosedError as closed:
        assert (closed.rcvd.code, closed.rcvd.reason) == (4000, "you asked for it"), closed
        assert closed.rcvd_then_sent
    ws = await connect(URL, **OPTIONS)
    await ws.send("close 1000 done")
    try:
        await ws.recv()
        raise AssertionError("it goes on")
    except ConnectionClosedOK:
        pass
    # Too much.
    ws = await connect(URL, **OPTIONS)
    try:
        await ws.send(os.urandom((16 << 20) + 1))
        await ws.recv()
        raise AssertionError("it goes on")
    except ConnectionClosed as closed:
        assert closed.rcvd is not None and closed.rcvd.code == 1009, closed


async def at_once():
    async def one(n):
        async with connect(URL, **OPTIONS) as ws:
            for m in range(20):
                await echoed(ws, f"{n} {m}")

    await asyncio.gather(*(one(n) for n in range(50)))


async def main():
    for test in [messages, fragments, pings, many, closes, at_once]:
        try:
            await asyncio.wait_for(test(), 60)
        except BaseException as error:
            print(f"{test.__name__}: {error!r}", file=sys.stderr)
            raise
    print("all")


asyncio.run(main())
