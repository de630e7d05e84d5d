// A WebSocket of JavaScript against an echo server of ours: URL, and the package `ws` or `built-in`.

import assert from 'node:assert/strict';
import { createRequire } from 'node:module';
import { randomBytes } from 'node:crypto';

const [url, kind, modules] = process.argv.slice(2);
const Socket = kind === 'built-in' ? globalThis.WebSocket : createRequire(`${modules}/`)('ws');

/** A connection whose messages can be waited for. */
function open(options) {
    return new Promise((resolve, reject) => {
        const socket = kind === 'built-in' ? new Socket(url) : new Socket(url, options);
        socket.binaryType = 'arraybuffer';
        const [messages, waiting] = [[], []];
        socket.onmessage = ({ data }) => (waiting.length ? waiting.shift()(data) : messages.push(data));
        socket.next = () => new Promise((done) => (messages.length ? done(messages.shift()) : waiting.push(done)));
        socket.ended = new Promise((done) => { socket.onclose = done; });
        socket.onopen = () => resolve(socket);
        socket.onerror = (event) => reject(event.error ?? new Error(event.message ?? 'no connection'));
    });
}

async function echoed(socket, message) {
    socket.send(message);
    const answer = await socket.next();
    if (typeof message === 'string') {
        assert.ok(answer === message, `${message.length} characters`);
    } else {
        assert.ok(Buffer.from(answer).equals(Buffer.from(message)), `${message.length} bytes`);
    }
}

for (const options of kind === 'ws' ? [{ perMessageDeflate: true }, { perMessageDeflate: false }] : [undefined]) {
    const socket = await open(options);
    if (kind === 'ws') {
        assert.equal(socket.extensions, options.perMessageDeflate ? 'permessage-deflate' : '');
    }
    for (const text of ['', 'a', 'grüße 😀 \0', 'x'.repeat(126), 'é'.repeat(65536), 'y'.repeat(1 << 20)]) {
        await echoed(socket, text);
    }
    for (const size of [0, 1, 125, 126, 65535, 65536, 4 << 20]) {
        await echoed(socket, randomBytes(size));
    }
    for (let n = 0; n < 2000; n += 1) {
        socket.send(`message ${n} ${'words '.repeat(n % 100)}`);
    }
    for (let n = 0; n < 2000; n += 1) {
        assert.equal(await socket.next(), `message ${n} ${'words '.repeat(n % 100)}`);
    }
    if (kind === 'ws') {
        const pong = new Promise((done) => socket.once('pong', done));
        socket.ping('are you there?');
        assert.equal((await pong).toString(), 'are you there?');
        socket.send('in ', { fin: false });
        socket.send('frag', { fin: false });
        socket.ping();
        socket.send('ments', { fin: true });
        assert.equal(await socket.next(), 'in fragments');
        // A flood: each is answered, in order.
        let pongs = 0;
        const all = new Promise((done) => socket.on('pong', (data) => {
            if (data.length) {
                assert.equal(data.toString(), String(pongs));
                if ((pongs += 1) === 1000) done();
            }
        }));
        for (let n = 0; n < 1000; n += 1) {
            socket.ping(String(n));
        }
        await all;
    }
    socket.close(4321, 'grüße');
    const closed = await socket.ended;
    assert.deepEqual([closed.code, closed.wasClean], [4321, true]);

    const other = await open(options);
    other.send('close 4000 you asked for it');
    const ended = await other.ended;
    assert.deepEqual([ended.code, ended.reason, ended.wasClean], [4000, 'you asked for it', true]);
}
console.log('all');
