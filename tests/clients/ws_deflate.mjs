// The package ws with compression, as both sides, with every combination of parameters.
//
//   node ws_deflate.mjs PACKAGES client ADDRESS      talks to an echo, and says talked for each way and all at the end
//   node ws_deflate.mjs PACKAGES server              echoes; says the address of each server, then end
import assert from "node:assert";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { createRequire } from "node:module";

const [packages, role, address] = process.argv.slice(2);
const { WebSocket, WebSocketServer } = createRequire(`${packages}/`)("ws");

const words = Array.from({ length: 300 }, (_, at) => (at * 7919 % 104729).toString(36));
const text = count => Array.from({ length: count }, (_, at) => words[at * at % 299]).join(" ");
const messages = ["", "short", "é€😀".repeat(100), text(40), text(40), text(20000), Buffer.alloc(0),
  Buffer.alloc(1000000), randomBytes(70000), text(40)];

function* product(...lists) {
  if (!lists.length) return yield [];
  for (const first of lists[0]) for (const rest of product(...lists.slice(1))) yield [first, ...rest];
}

// What is not chosen is not there at all: "false" would mean that the other side must not choose it either.
function chosen(server, client, serverBits, clientBits) {
  return {
    ...server && { serverNoContextTakeover: true },
    ...client && { clientNoContextTakeover: true },
    ...serverBits && { serverMaxWindowBits: serverBits },
    ...clientBits && { clientMaxWindowBits: clientBits },
  };
}

async function talk(options) {
  const socket = new WebSocket(`ws://${address}/`, { perMessageDeflate: { threshold: 0, ...options } });
  await once(socket, "open");
  assert(socket.extensions.startsWith("permessage-deflate"), socket.extensions);
  for (const message of messages) {
    socket.send(message);
    const [answer, isBinary] = await once(socket, "message");
    assert(answer.equals(Buffer.from(message)) && isBinary === (typeof message !== "string"));
  }
  // Fragments, which the package compresses each for itself.
  for (const part of [text(30), "", text(3000)]) socket.send(part, { fin: false });
  socket.send("end", { fin: true });
  const [whole] = await once(socket, "message");
  assert.equal(whole.toString(), text(30) + text(3000) + "end");
  socket.close(1000);
  assert.equal((await once(socket, "close"))[0], 1000);
}

if (role === "client") {
  for (const [server, client, serverBits, clientBits] of
    product([false, true], [false, true], [undefined, 9, 12, 15], [undefined, true, 9, 12, 15])) {
    await talk(chosen(server, client, serverBits, clientBits));
    console.log("talked");
  }
  console.log("all");
} else {
  const servers = [];
  for (const [server, client, serverBits] of product([false, true], [false, true], [undefined, 9, 12])) {
    const perMessageDeflate = { threshold: 0, ...chosen(server, client, serverBits) };
    const listening = new WebSocketServer({ host: "127.0.0.1", port: 0, perMessageDeflate });
    servers.push(listening);
    listening.on("connection", socket => {
      assert(socket.extensions.startsWith("permessage-deflate"));
      socket.on("message", (message, isBinary) => socket.send(message, { binary: isBinary }));
    });
    await once(listening, "listening");
    console.log(`127.0.0.1:${listening.address().port}`);
  }
  console.log("end");
  process.stdin.resume();
  process.stdin.on("end", () => process.exit(0));
}
