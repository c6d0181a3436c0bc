#!/usr/bin/env node
// Starts the binary for this machine on our own standard streams, hands it the signals that we get, and ends as it ends.
"use strict";

const { spawn } = require("node:child_process");
const { constants } = require("node:os");
const path = require("node:path");
const { isatty } = require("node:tty");

const program = path.join(__dirname, "bin", `${process.platform}-${process.arch}`, "mcp-http-transport");
const child = spawn(program, process.argv.slice(2), { stdio: "inherit" });

// A terminal tells both of us by itself, and a second Ctrl-C would end the program at once.
const told = [0, 1, 2].some((fd) => isatty(fd));
for (const signal of ["SIGINT", "SIGHUP"]) {
  process.on(signal, () => told || child.kill(signal));
}
process.on("SIGTERM", () => child.kill("SIGTERM"));
child.on("error", (error) => {
  const why = error.code === "ENOENT" ? `this package has no binary for ${process.platform} on ${process.arch}` : error.message;
  console.error(`mcp-http-transport: ${why}`);
  process.exit(1);
});
child.on("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
