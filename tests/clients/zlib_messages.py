"""zlib, as a second opinion about the payloads of compressed messages (RFC 7692).

    python3 zlib_messages.py

Each line of the input is answered by one: what is asked, the bits of the window, and messages or payloads in hexadecimal, all of
one context.

    inflate BITS PAYLOAD...             the messages
    deflate BITS LEVEL MESSAGE...       the payloads
"""

import sys
import zlib

TAIL = b"\x00\x00\xff\xff"


def inflated(bits, payloads):
    inflate = zlib.decompressobj(-bits)
    for payload in payloads:
        yield inflate.decompress(payload + TAIL)
        # All of it has been used, and nothing is left to be made of it.
        assert not inflate.unused_data and not inflate.unconsumed_tail


def deflated(bits, level, messages):
    deflate = zlib.compressobj(level, zlib.DEFLATED, -bits)
    for message in messages:
        payload = deflate.compress(message) + deflate.flush(zlib.Z_SYNC_FLUSH)
        assert payload.endswith(TAIL)
        yield payload[: -len(TAIL)]


for line in sys.stdin:
    what, bits, *rest = line.split(" ")
    if what == "inflate":
        answers = inflated(int(bits), map(bytes.fromhex, rest))
    else:
        answers = deflated(int(bits), int(rest[0]), map(bytes.fromhex, rest[1:]))
    print(*(answer.hex() for answer in answers), flush=True)
