"""Parameters of permessage-deflate, by the package `websockets`: URL of an echo server with takeover, then of one without."""

import asyncio
import sys

from websockets.asyncio.client import connect
from websockets.extensions.permessage_deflate import ClientPerMessageDeflateFactory

WORDS = "some words that come again and again, " * 3000


async def talk(url, **parameters):
    factory = ClientPerMessageDeflateFactory(**parameters)
    async with connect(url, compression=None, extensions=[factory], max_size=None, proxy=None) as ws:
        assert [extension.name for extension in ws.protocol.extensions] == ["permessage-deflate"], parameters
        for message in [WORDS, "", "a", WORDS[::-1], WORDS.encode(), bytes(100000), WORDS]:
            await ws.send(message)
            assert await ws.recv() == message, (parameters, len(message))
        await ws.send([WORDS[:1000], "", WORDS[1000:]])
        assert await ws.recv() == WORDS, parameters


async def main():
    for url in sys.argv[1:]:
        for bits in range(9, 16):
            await talk(url, server_max_window_bits=bits)
            await talk(url, client_max_window_bits=bits)
            await talk(url, server_max_window_bits=bits, client_max_window_bits=bits)
        for server in [False, True]:
            for client in [False, True]:
                await talk(url, server_no_context_takeover=server, client_no_context_takeover=client)
                await talk(
                    url,
                    server_no_context_takeover=server,
                    client_no_context_takeover=client,
                    server_max_window_bits=10,
                    client_max_window_bits=12,
                )
    print("all")


asyncio.run(main())
