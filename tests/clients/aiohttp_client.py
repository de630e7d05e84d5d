"""aiohttp as a client of the examples.

    python aiohttp_client.py HTTP_ECHO HELLO_HTTP SSE_CLOCK UPLOAD     (base URLs)
"""

import asyncio
import sys
import zlib

import aiohttp

echo, hello, clock, upload = sys.argv[1:]
PIECE = bytes(range(256)) * 256


async def pieces(count):
    for _ in range(count):
        yield PIECE


async def streamed_upload(session):
    # Chunks, since the length is not known; back it comes with one.
    async with session.post(f"{echo}/up", data=pieces(100)) as response:
        assert response.content_length == 100 * len(PIECE)
        received = b"".join([chunk async for chunk in response.content.iter_any()])
    assert received == PIECE * 100
    # Sent only after the server's 100.
    async with session.put(f"{echo}/up", data=pieces(3), expect100=True) as response:
        assert await response.read() == PIECE * 3
    # More than the server takes: its refusal arrives, or the connection is cut while this still sends.
    async with session.post(f"{echo}/up", data=PIECE * 200, expect100=True) as response:
        assert response.status == 413, response.status


async def many_at_once(connections):
    opened = 0

    async def count(*_):
        nonlocal opened
        opened += 1

    trace = aiohttp.TraceConfig()
    trace.on_connection_create_end.append(count)
    connector = aiohttp.TCPConnector(limit=connections)
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, trace_configs=[trace]) as session:

        async def one(number):
            async with session.get(f"{hello}/{number}") as response:
                assert await response.text() == f"you asked for /{number}\n"

        await asyncio.gather(*map(one, range(1000)))
    assert opened <= connections, f"{opened} connections"


async def events(session):
    ids = []
    headers = {"Last-Event-ID": "12"}
    async with session.get(f"{clock}/time", headers=headers) as response:
        assert response.content_type == "text/event-stream"
        text = b""
        async for line in response.content:
            text += line
            if line.startswith(b"id:"):
                ids.append(int(line[3:]))
            if len(ids) == 2:
                break
    assert ids[0] < ids[1]
    assert b"event: note" in text and b"data: welcome back, after 12" in text, text


async def form(session):
    data = aiohttp.FormData(quote_fields=False)
    data.add_field("note", "a note")
    data.add_field("file", PIECE * 64, filename="été.bin", content_type="application/octet-stream")
    async with session.post(f"{upload}/", data=data) as response:
        lines = (await response.text()).splitlines()
    expected = [
        f"note: 6 bytes, CRC-32 {zlib.crc32(b'a note'):08x}",
        f"été.bin: {64 * len(PIECE)} bytes, CRC-32 {zlib.crc32(PIECE * 64):08x}",
    ]
    assert lines == expected, lines


async def main():
    timeout = aiohttp.ClientTimeout(total=60)
    async with aiohttp.ClientSession(timeout=timeout) as session:
        await streamed_upload(session)
        await events(session)
        await form(session)
    await many_at_once(20)


asyncio.run(main())
print("all")
