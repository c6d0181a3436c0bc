// The MCP client of Vercel's AI SDK, driven line by line as client.mjs is: the steps `tools` and `call`.
//
//   ai.mjs --transport sse|streamable|stdio [--url URL] [-- COMMAND ...]

import { createInterface } from "node:readline";
import { createMCPClient } from "@ai-sdk/mcp";
import { Experimental_StdioMCPTransport } from "@ai-sdk/mcp/mcp-stdio";

const words = process.argv.slice(2);
const dashes = words.indexOf("--");
const flag = (name) => words[words.indexOf(name) + 1];
const kind = flag("--transport");
const transport =
  kind === "stdio"
    ? new Experimental_StdioMCPTransport({ command: words[dashes + 1], args: words.slice(dashes + 2) })
    : { type: kind === "sse" ? "sse" : "http", url: flag("--url") };

const client = await createMCPClient({ transport });
const known = await client.tools();
const steps = {
  tools: async () => Object.keys(await client.tools()),
  call: async ({ tool, arguments: args = {} }) => {
    console.error("sent tools/call", tool);
    const result = await known[tool].execute(args, { messages: [], toolCallId: "1" });
    return { text: result.content.map((block) => block.text).join("") };
  },
};
for await (const line of createInterface({ input: process.stdin })) {
  const { step, ...more } = JSON.parse(line);
  try {
    console.log(JSON.stringify({ step, ok: true, data: await steps[step](more) }));
  } catch (error) {
    console.log(JSON.stringify({ step, ok: false, detail: String(error) }));
  }
}
await client.close();
