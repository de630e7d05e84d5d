// Node's fetch as a client of the examples.
//
//   node fetch.mjs REST_JSON HTTP_ECHO SSE_CLOCK     (base URLs)
import assert from "node:assert/strict";

const [rest, echo, clock] = process.argv.slice(2);
const limit = () => AbortSignal.timeout(30_000);

// JSON, there and back.
const json = (path, method, body) => fetch(rest + path, {
  method, body: JSON.stringify(body), headers: { "content-type": "application/json" }, signal: limit(),
});
assert.deepEqual(await (await fetch(`${rest}/tasks`)).json(), {});
const created = await json("/tasks", "POST", { title: "été" });
assert.equal(created.status, 201);
const location = created.headers.get("location");
assert.deepEqual(await created.json(), { title: "été", done: false });
assert.equal((await json(location, "PUT", { title: "x", done: true })).status, 200);
assert.deepEqual(await (await fetch(rest + location)).json(), { title: "x", done: true });
const head = await fetch(rest + location, { method: "HEAD" });
assert.deepEqual([head.status, head.headers.get("content-length"), await head.text()], [200, "25", ""]);
const removed = await fetch(rest + location, { method: "DELETE" });
assert.deepEqual([removed.status, await removed.text()], [204, ""]);
assert.equal((await fetch(rest + location)).status, 404);
assert.equal((await json("/tasks", "POST", 5)).status, 400);

// A body in pieces, of a length that nobody knows.
const piece = new Uint8Array(65_536).map((_, at) => at % 251);
const pieces = count => new ReadableStream({
  pull(controller) {
    count-- > 0 ? controller.enqueue(piece) : controller.close();
  },
});
const sent = await fetch(`${echo}/up`, { method: "POST", body: pieces(80), duplex: "half", signal: limit() });
const back = Buffer.from(await sent.arrayBuffer());
assert.ok(back.equals(Buffer.concat(Array(80).fill(piece))), `${back.length} bytes`);

// Many at once.
const answers = await Promise.all(Array.from({ length: 200 }, async (_, n) => {
  const response = await fetch(`${echo}/${n}`, { method: "POST", body: `body ${n}`, signal: limit() });
  return response.text();
}));
assert.deepEqual(answers, answers.map((_, n) => `body ${n}`));

// A stream without an end: its first event, then the client leaves in the middle.
const controller = new AbortController();
const stream = await fetch(`${clock}/time`, { signal: controller.signal });
assert.equal(stream.headers.get("content-type"), "text/event-stream");
const reader = stream.body.getReader();
const { value } = await reader.read();
assert.match(new TextDecoder().decode(value), /^(id: \d+\n|data: \d\d:\d\d:\d\d UTC\n){2}\n/);
controller.abort();
await assert.rejects(reader.read(), { name: "AbortError" });
assert.equal((await fetch(`${clock}/`)).status, 200);

// An upload that is given up in the middle.
const half = new AbortController();
let given = 0;
const endless = new ReadableStream({
  pull(stream) {
    if (++given < 20) return stream.enqueue(piece);
    half.abort();
    // fetch goes on to read what it has given up, as long as there is something.
    return new Promise(() => {});
  },
});
const lost = fetch(`${echo}/up`, { method: "POST", body: endless, duplex: "half", signal: half.signal });
await assert.rejects(lost, { name: "AbortError" });
assert.equal(await (await fetch(`${echo}/`)).text(), "OK");
console.log("all");
