// A headless Chromium, told what to do by lines on the standard input, over the pipe of its DevTools protocol.
//
//   node browser.mjs CHROMIUM PROFILE
//
//   open URL               loads a page, until its load event
//   eval EXPRESSION        evaluates it in the page; a promise is awaited
//   files SELECTOR PATH    chooses a file in an <input type="file">
//
// Each line is answered by one: `ok TEXT` or `error TEXT`. It ends, and the browser with it, when the input does.
import { spawn } from "node:child_process";
import { createInterface } from "node:readline";

const [program, profile] = process.argv.slice(2);
const browser = spawn(program, [
  // Tests run as root in containers, too, where the sandbox cannot.
  "--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--disable-quic", "--no-first-run",
  // It is to talk to nobody but the test.
  "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
  `--user-data-dir=${profile}`, "--remote-debugging-pipe", "about:blank",
], { stdio: ["ignore", "ignore", "pipe", "pipe", "pipe"] });

// The last of what it says is told if it does not come up.
let said = "";
browser.stderr.on("data", data => said = (said + data).slice(-2000));
browser.on("exit", code => {
  if (!ending) console.log(`error the browser ended with ${code}: ${oneLine(said)}`);
  process.exit(ending ? 0 : 1);
});

let ending = false, last = 0, unread = [];
const calls = new Map(), waits = new Map();
const oneLine = text => String(text).trimEnd().replaceAll("\\", "\\\\").replaceAll("\n", "\\n");

// Messages of the protocol are JSON, each with a NUL behind it.
browser.stdio[4].on("data", data => {
  for (let end; (end = data.indexOf(0)) >= 0; data = data.subarray(end + 1)) {
    const message = JSON.parse(Buffer.concat([...unread, data.subarray(0, end)]).toString());
    unread = [];
    if (message.id) {
      const { resolve, reject } = calls.get(message.id);
      calls.delete(message.id);
      message.error ? reject(new Error(message.error.message)) : resolve(message.result);
    } else {
      waits.get(message.method)?.(message.params);
    }
  }
  unread.push(data);
});
browser.stdio[3].on("error", () => {});

function call(method, params = {}, sessionId = undefined) {
  return new Promise((resolve, reject) => {
    calls.set(++last, { resolve, reject });
    browser.stdio[3].write(JSON.stringify({ id: last, method, params, sessionId }) + "\0");
  });
}

const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
const page = (method, params) => call(method, params, sessionId);
await page("Page.enable");

const commands = {
  async open(url) {
    const loaded = new Promise(resolve => waits.set("Page.loadEventFired", resolve));
    const { errorText } = await page("Page.navigate", { url });
    if (errorText) throw new Error(errorText);
    await loaded;
    return url;
  },
  async eval(expression) {
    const answer = await page("Runtime.evaluate", {
      expression, awaitPromise: true, returnByValue: true, userGesture: true,
    });
    const thrown = answer.exceptionDetails;
    if (thrown) throw new Error(thrown.exception?.description ?? thrown.text);
    return answer.result.value;
  },
  async files(argument) {
    const [selector, path] = argument.split(/ (.*)/);
    const { root } = await page("DOM.getDocument");
    const { nodeId } = await page("DOM.querySelector", { nodeId: root.nodeId, selector });
    await page("DOM.setFileInputFiles", { nodeId, files: [path] });
    return path;
  },
};

for await (const line of createInterface({ input: process.stdin })) {
  const [command, argument] = line.split(/ (.*)/);
  try {
    console.log(`ok ${oneLine(await commands[command](argument))}`);
  } catch (error) {
    console.log(`error ${oneLine(error.message)}`);
  }
}
ending = true;
call("Browser.close");
