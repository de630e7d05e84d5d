"""A server of the package `websockets` for our client: echo, and what the client asks for; `deflate` or `plain`.

It prints its port, then a line for each connection that has ended: code and reason that it got.
"""

import asyncio
import sys

from websockets.asyncio.server import serve
from websockets.exceptions import ConnectionClosed


async def handle(ws):
    try:
        async for message in ws:
            if message == "fragments":
                await ws.send(["grü", "ße", "", " 😀" * 100])
            elif message == "pings":
                for n in range(500):
                    await (await ws.ping(str(n)))
                await ws.send("pinged")
            elif message == "extensions":
                await ws.send(" ".join(extension.name for extension in ws.protocol.extensions))
            elif isinstance(message, str) and message.startswith("close "):
                _, code, reason = message.split(" ", 2)
                await ws.close(int(code), reason)
            else:
                await ws.send(message)
    except ConnectionClosed:
        pass
    await ws.wait_closed()
    print("closed", ws.close_code, ws.close_reason, flush=True)


async def main():
    compression = "deflate" if sys.argv[1] == "deflate" else None
    async with serve(handle, "127.0.0.1", 0, compression=compression, max_size=32 << 20) as server:
        print(server.sockets[0].getsockname()[1], flush=True)
        # Until nobody needs it any more.
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
