"""Python's websockets with compression, as both sides, with every combination of parameters.

    python websockets_deflate.py client ADDRESS      talks to an echo; says talked for each way, and all at the end
    python websockets_deflate.py server              echoes; says the address of each server, then end
"""

import asyncio
import itertools
import random
import sys

from websockets.asyncio.client import connect
from websockets.asyncio.server import serve
from websockets.extensions.permessage_deflate import (
    ClientPerMessageDeflateFactory,
    ServerPerMessageDeflateFactory,
)

LIMIT = 4 << 20
random.seed(7)
WORDS = [random.randbytes(random.randrange(2, 9)).hex() for _ in range(300)]


def text(words):
    return " ".join(random.choice(WORDS) for _ in range(words))


MESSAGES = [
    "",
    "short",
    "é€😀" * 100,
    text(40),
    text(40),
    text(20_000),
    b"",
    b"\x00" * 300_000,
    random.randbytes(70_000),
    # Fragments: of text, of bytes, empty ones among them.
    [text(30), "", text(3000), "é€😀", text(1)],
    [b"", random.randbytes(3000), b"a" * 3000, b""],
    text(40),
]

NUMBERED = [f"{number} {text(30)}" for number in range(50)]


async def talk(address, factory):
    async with connect(
        f"ws://{address}/", extensions=[factory], compression=None, max_size=LIMIT, ping_interval=None
    ) as socket:
        assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
        for message in MESSAGES:
            await socket.send(message)
            whole = type(message[0])().join(message) if isinstance(message, list) else message
            answer = await socket.recv()
            assert answer == whole, f"{len(answer)} for {len(whole)}"
        # Without waiting, and in order.
        for number in range(50):
            await socket.send(NUMBERED[number])
        for number in range(50):
            assert await socket.recv() == NUMBERED[number]


async def client(address):
    for resets, server_bits, client_bits in itertools.product(
        itertools.product([False, True], repeat=2), [None, 8, 9, 15], [None, True, 9, 15]
    ):
        await talk(address, ClientPerMessageDeflateFactory(*resets, server_bits, client_bits))
        print("talked", flush=True)
    print("all")


async def echo(socket):
    assert [extension.name for extension in socket.protocol.extensions] == ["permessage-deflate"]
    async for message in socket:
        # Long ones go back in fragments.
        half = len(message) // 2
        await socket.send(message if half < 100_000 else [message[:half], message[half:]])


async def server():
    servers = []
    for resets, server_bits, client_bits in itertools.product(
        itertools.product([False, True], repeat=2), [None, 9, 12], [None, 9, 12, 15]
    ):
        factory = ServerPerMessageDeflateFactory(*resets, server_bits, client_bits)
        listening = await serve(
            echo, "127.0.0.1", 0, extensions=[factory], compression=None, max_size=LIMIT, ping_interval=None
        )
        servers.append(listening)
        print("{}:{}".format(*listening.sockets[0].getsockname()))
    print("end", flush=True)
    # Until the test has what it wants.
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    for listening in servers:
        listening.close()


asyncio.run(client(sys.argv[2]) if sys.argv[1] == "client" else server())
