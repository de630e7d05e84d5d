"""The client of Python's standard library against `http_echo`.

    python3 http_client.py PORT
"""

import http.client
import socket
import sys

port = int(sys.argv[1])
conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)


def ask(method, path, body=None, **more):
    conn.request(method, path, body, **more)
    response = conn.getresponse()
    return response, response.read()


# One connection carries all of these.
response, body = ask("GET", "/")
assert (response.status, response.reason, body) == (200, "OK", b"OK")
kept = conn.sock
assert isinstance(kept, socket.socket)
response, body = ask("HEAD", "/echo")
length = response.getheader("content-length")
assert response.status == 200 and body == b"" and int(length) > 0, length
assert response.getheader("date").endswith("GMT")

large = bytes(range(256)) * 20_000
assert ask("POST", "/form", "a=1")[1] == b"a=1"
assert ask("PUT", "/large", large)[1] == large
assert ask("PATCH", "/empty", b"")[1] == b""
assert ask("DELETE", "/with/a/body", b"gone")[1] == b"gone"
assert ask("PURGE", "/", b"any token is a method")[1] == b"any token is a method"

# A body of unknown length: http.client makes chunks of what an iterator gives.
pieces = [large[at : at + 12_345] for at in range(0, len(large), 12_345)]
assert ask("POST", "/pieces", iter(pieces))[1] == large
assert ask("POST", "/pieces", iter(()))[1] == b""

# Requests without a body behind chunked ones; names as they were sent, values beyond ASCII.
response, body = ask("GET", "/echo", headers={"X-Kind": "été".encode("latin-1"), "x-empty": ""})
lines = body.split(b"\n")
assert b"X-Kind: \xe9t\xe9" in lines or b"x-kind: \xe9t\xe9" in lines, lines
assert any(line.rstrip() == b"x-empty:" for line in lines), lines
response, body = ask("GET", "/cookie", headers={"Cookie": "a=1; b=two words"})
assert body == b"a=1\nb=two words\n", body
assert conn.sock is kept, "the connection was not kept"

# Asked to close, the server does.
response, body = ask("GET", "/", headers={"Connection": "close"})
assert body == b"OK" and response.will_close and conn.sock is None
assert kept.fileno() == -1

# 1.0: closed unless asked otherwise, and never chunked.
conn._http_vsn, conn._http_vsn_str = 10, "HTTP/1.0"
response, body = ask("GET", "/")
assert body == b"OK" and response.will_close and conn.sock is None
response, body = ask("POST", "/old", b"old", headers={"Connection": "keep-alive"})
assert body == b"old" and not response.will_close
kept = conn.sock
assert ask("POST", "/old", b"older", headers={"Connection": "keep-alive"})[1] == b"older"
assert conn.sock is kept
conn.close()

# A client that leaves with half a request, and one that says nothing, disturb nobody.
for half in (b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\nhalf", b""):
    peer = socket.create_connection(("127.0.0.1", port), timeout=30)
    peer.sendall(half)
    peer.close()
conn = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
assert ask("GET", "/")[1] == b"OK"
print("all")
