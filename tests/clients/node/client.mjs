// One MCP client of the TypeScript SDK, driven line by line.
//
//   client.mjs --transport sse|streamable|stdio [--url URL] [-- COMMAND ...]
//
// The protocol and the steps are those of ../python/client.py, where they are described. The driver copies
// this file beside node_modules, because node looks for packages from where a module lies.

import { createInterface } from "node:readline";
import { Client } from "@modelcontextprotocol/sdk/client/index.js";
import { SSEClientTransport } from "@modelcontextprotocol/sdk/client/sse.js";
import { StdioClientTransport } from "@modelcontextprotocol/sdk/client/stdio.js";
import { StreamableHTTPClientTransport } from "@modelcontextprotocol/sdk/client/streamableHttp.js";
import {
  CreateMessageRequestSchema,
  ElicitRequestSchema,
  ListRootsRequestSchema,
  LoggingMessageNotificationSchema,
} from "@modelcontextprotocol/sdk/types.js";

const say = (answer) => process.stdout.write(JSON.stringify(answer) + "\n");
const need = (truth, text) => {
  if (!truth) throw new Error(text);
};
// A step ends before the driver loses patience, so that the wire can be shown.
const inTime = (work) => {
  let timer;
  const late = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new Error("no end in 60 s")), 60_000);
  });
  return Promise.race([work, late]).finally(() => clearTimeout(timer));
};
const show = (value) => JSON.stringify(value);

const [options, command] = (() => {
  const words = process.argv.slice(2);
  const dashes = words.indexOf("--");
  const flags = dashes < 0 ? words : words.slice(0, dashes);
  const found = {};
  for (let i = 0; i < flags.length; i += 2) found[flags[i].replace(/^--/, "")] = flags[i + 1];
  return [found, dashes < 0 ? [] : words.slice(dashes + 1)];
})();

function open() {
  switch (options.transport) {
    case "sse":
      return new SSEClientTransport(new URL(options.url));
    case "streamable":
      return new StreamableHTTPClientTransport(new URL(options.url));
    case "stdio":
      return new StdioClientTransport({ command: command[0], args: command.slice(1), stderr: "inherit" });
    default:
      throw new Error(`unknown transport ${options.transport}`);
  }
}

// Every message of the connection, in order: ["out" | "in", message].
const wire = [];
const tail = () => wire.slice(-24).map(([way, message]) => `${way} ${show(message).slice(0, 600)}`);
const sent = (method, start = 0) =>
  wire.slice(start).filter(([way, m]) => way === "out" && m.method === method).map(([, m]) => m);
const received = (method, start = 0) =>
  wire.slice(start).filter(([way, m]) => way === "in" && m.method === method).map(([, m]) => m);

const transport = open();
transport.onmessage = (message) => wire.push(["in", message]); // the SDK calls it before its own
const send = transport.send.bind(transport);
transport.send = (message, more) => {
  wire.push(["out", message]);
  if (message.method && message.id !== undefined) console.error("sent", message.method, message.params?.name ?? "");
  return send(message, more);
};

const capabilities = { elicitation: {}, sampling: {}, roots: { listChanged: true } };
const client = new Client({ name: "clients-test", version: "1.0.0" }, { capabilities });
client.onerror = (error) => console.error("client error:", error);
const questions = [];
const prompts = [];
let answering = Promise.resolve(); // pending while questions of the server are to stay open
let release = () => {};
client.setRequestHandler(ElicitRequestSchema, async (request) => {
  questions.push(request.params.message);
  await answering;
  // What the demo and the servers beside us ask for, and server-everything.
  const asked = request.params.requestedSchema.properties;
  const answers = Object.entries({ answer: "teal", name: "Ada" }).filter(([name]) => name in asked);
  return { action: "accept", content: Object.fromEntries(answers) };
});
client.setRequestHandler(CreateMessageRequestSchema, async (request) => {
  prompts.push(request.params.messages.at(-1).content.text);
  await answering;
  return { role: "assistant", content: { type: "text", text: "a sample of teal" }, model: "test" };
});
client.setRequestHandler(ListRootsRequestSchema, async () => ({ roots: [{ uri: "file:///one", name: "one" }] }));
client.setNotificationHandler(LoggingMessageNotificationSchema, () => {});

async function tool(name, args, more) {
  const result = await client.callTool({ name, arguments: args }, undefined, more);
  need(!result.isError, `${name}: isError: ${show(result)}`);
  return result.content.map((block) => block.text ?? "").join("");
}

const steps = {
  async initialize() {
    const answer = wire.find(([way, m]) => way === "in" && m.result?.serverInfo)[1].result;
    return { first: wire[0][1].method, modern: false, answer };
  },
  async list() {
    const { tools } = await client.listTools();
    const names = tools.map((t) => t.name).sort();
    need(["add", "ask", "echo", "slow"].every((n) => names.includes(n)), `tools: ${names}`);
    need(tools.every((t) => t.inputSchema.type === "object"), `schemas: ${show(tools)}`);
    return { tools: names };
  },
  async echo() {
    const message = 'grüß "Gott"\n\u2028 end';
    const text = await tool("echo", { message });
    need(text === message, `echo of ${show(message)} gave ${show(text)}`);
  },
  async foreign() {
    const names = (await client.listTools()).tools.map((t) => t.name);
    need(names.includes("echo"), `tools: ${names}`);
    const text = await tool("echo", { message: "grüß Gott" });
    need(text.includes("grüß Gott"), `echo gave ${show(text)}`);
  },
  async add() {
    const text = await tool("add", { a: 2, b: 40 });
    need(Number(text) === 42, `2 + 40 gave ${show(text)}`);
  },
  async progress() {
    const seen = [];
    const start = wire.length;
    await tool("slow", { seconds: 0.5, steps: 5 }, { onprogress: (p) => seen.push([p.progress, p.total]) });
    need(seen.length >= 4, `progress callbacks: ${show(seen)}`);
    need(seen.every((p, i) => i === 0 || seen[i - 1][0] < p[0]), `progress does not increase: ${show(seen)}`);
    const order = wire.slice(start).filter(([way]) => way === "in").map(([, m]) => m.method ?? "answer");
    need(
      order.includes("notifications/progress") && order.indexOf("notifications/progress") < order.indexOf("answer"),
      `progress after the answer: ${order}`,
    );
    return { progress: seen };
  },
  async cancel() {
    const start = wire.length;
    const abort = new AbortController();
    let count = 0;
    const onprogress = () => {
      if (++count === 2) abort.abort("test");
    };
    let ended;
    try {
      // Two hundred steps of 50 ms: had it not been cancelled, the calls below would see its progress.
      const args = { name: "slow", arguments: { seconds: 10, steps: 200 } };
      ended = await client.callTool(args, undefined, { onprogress, signal: abort.signal });
    } catch (error) {
      need(abort.signal.aborted, `the call failed before it was cancelled: ${error}`);
    }
    need(!ended, `the call ended before it was cancelled: ${show(ended)}`);
    await steps.echo();
    const answered = wire.length;
    // The fence: as long as ten steps of the cancelled call.
    await tool("slow", { seconds: 0.5, steps: 2 });
    const request = sent("tools/call", start)[0];
    const told = sent("notifications/cancelled", start).map((m) => m.params.requestId);
    const token = request.params._meta.progressToken;
    const late = received("notifications/progress", answered).filter((m) => m.params.progressToken === token);
    const answers = wire
      .slice(start)
      .filter(([way, m]) => way === "in" && !m.method && m.id === request.id)
      .map(([, m]) => m);
    need(late.length === 0, `the cancelled call still runs: ${show(late.slice(-1))}`);
    need(answers.every((m) => m.error), `the cancelled call gave a result: ${show(answers)}`);
    return { told: told.length === 1 && told[0] === request.id, answers };
  },
  async ask() {
    const before = questions.length;
    const question = "Which colour?";
    const text = await tool("ask", { question });
    need(questions.length === before + 1, `questions that reached the client: ${show(questions.slice(before))}`);
    need(questions.at(-1).includes(question), `the question was ${show(questions.at(-1))}`);
    need(text.includes("teal"), `the answer 'teal' is not in ${show(text)}`);
  },
  async log() {
    await client.setLoggingLevel("debug");
    let start = wire.length;
    await tool("slow", { seconds: 0.1, steps: 2 });
    const loud = received("notifications/message", start);
    await client.setLoggingLevel("emergency");
    start = wire.length;
    await tool("slow", { seconds: 0.1, steps: 2 });
    await client.setLoggingLevel("info");
    const quiet = received("notifications/message", start);
    need(loud.length > 0, "no notifications/message at level debug");
    need(quiet.length === 0, `log messages that were not asked for: ${show(quiet)}`);
    return { log: loud[0].params };
  },
  async resource() {
    const uri = "demo://greeting";
    const uris = (await client.listResources()).resources.map((r) => r.uri);
    need(uris.includes(uri), `resources: ${uris}`);
    const { contents } = await client.readResource({ uri });
    need(contents[0].uri === uri && contents[0].text, `contents: ${show(contents)}`);
  },
  async prompt() {
    const names = (await client.listPrompts()).prompts.map((p) => p.name);
    need(names.includes("greet"), `prompts: ${names}`);
    const { messages } = await client.getPrompt({ name: "greet", arguments: { name: "Ada" } });
    need(messages[0].content.text.includes("Ada"), `messages: ${show(messages)}`);
  },
  async ping() {
    await client.ping();
  },
  // An unknown tool is a JSON-RPC error, and the connection lives on.
  async refuse() {
    let result;
    try {
      result = await client.callTool({ name: "no-such-tool", arguments: {} });
    } catch (error) {
      need(error.code === -32602, `unknown tool: ${error}`);
      return;
    }
    throw new Error(`an unknown tool gave ${show(result)}`);
  },

  // What follows is for servers that are not the demo, and judged by the driver.
  async tools() {
    return (await client.listTools()).tools.map((t) => t.name);
  },
  async call({ tool, arguments: args = {} }) {
    const start = wire.length;
    const asked = questions.length + prompts.length;
    const result = await client.callTool({ name: tool, arguments: args }, undefined, { onprogress: () => {} });
    need(!result.isError, `${tool}: isError: ${show(result)}`);
    // From the wire: the SDK calls onprogress a turn later than it takes an answer, and drops what both came with.
    const token = sent("tools/call", start)[0].params._meta.progressToken;
    const progress = received("notifications/progress", start)
      .filter((m) => m.params.progressToken === token)
      .map((m) => m.params.progress);
    return {
      text: result.content.map((block) => block.text ?? "").join(""),
      progress,
      logs: received("notifications/message", start).map((m) => m.params),
      asked: questions.length + prompts.length - asked,
    };
  },
  async begin({ tool, arguments: args = {}, wait = "notifications/progress" }) {
    const start = wire.length;
    const abort = new AbortController();
    const work = client.callTool({ name: tool, arguments: args }, undefined, { onprogress: () => {}, signal: abort.signal });
    underWay = { abort, ended: work.then((result) => ({ result }), (error) => ({ error })) };
    await steps.come({ method: wait, count: 1, start });
  },
  async finish() {
    const { result, error } = await underWay.ended;
    if (error) throw error;
    need(!result.isError, `isError: ${show(result)}`);
    return result.content.map((block) => block.text ?? "").join("");
  },
  async abort() {
    underWay.abort.abort("test");
    await underWay.ended;
  },
  async come({ method, count = 1, start = 0 }) {
    while (received(method, start).length < count) await new Promise((resolve) => setTimeout(resolve, 20));
    return received(method, start).map((m) => m.params ?? {});
  },
  async position() {
    return wire.length;
  },
  async level({ level }) {
    await client.setLoggingLevel(level);
  },
  async subscribe({ uri }) {
    await client.subscribeResource({ uri });
  },
  async unsubscribe({ uri }) {
    await client.unsubscribeResource({ uri });
  },
  async hold() {
    answering = new Promise((resolve) => {
      release = resolve;
    });
  },
  async release() {
    release();
  },
};
let underWay; // of `begin`

try {
  await inTime(client.connect(transport));
} catch (error) {
  say({ step: "connection", ok: false, detail: String(error), wire: tail() });
  process.exit(1);
}
for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...words } = JSON.parse(line);
  try {
    say({ step, ok: true, data: await inTime(steps[step](words)) });
  } catch (error) {
    console.error(error);
    say({ step, ok: false, detail: error.message, wire: tail() });
  }
}
await client.close();
