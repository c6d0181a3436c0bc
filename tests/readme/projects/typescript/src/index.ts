// An MCP server on stdio with nothing but Node.
declare const process: any;

const answers: Record<string, object> = {
  initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo: { name: "mine", version: "1" } },
  "tools/list": { tools: [{ name: "greet", inputSchema: { type: "object" } }] },
  "tools/call": { content: [{ type: "text", text: "hello" }] },
};

let rest = "";
process.stdin.on("data", (data: object) => {
  const lines = (rest + data).split("\n");
  rest = lines.pop() ?? "";
  for (const line of lines) {
    const message = JSON.parse(line);
    if ("id" in message) {
      process.stdout.write(JSON.stringify({ jsonrpc: "2.0", id: message.id, result: answers[message.method] ?? {} }) + "\n");
    }
  }
});
