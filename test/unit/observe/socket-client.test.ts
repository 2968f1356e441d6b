// The client against servers that are missing, not ours, slow, or wrong.
import { chmodSync, writeFileSync } from "node:fs";
import { createServer } from "node:net";
import { describe, expect, it } from "vitest";
import { ask } from "../../../src/observe/socket-client.ts";
import { useSockets } from "./sockets.ts";

const sockets = useSockets();

describe("the client", () => {
  const answer = (body: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

  it("returns nothing if no server listens", async () => {
    expect(await ask(sockets.pathOf("none"), "/v1/status")).toBeUndefined();
    expect(await ask(sockets.pathOf("no", "such", "directory"), "/v1/status")).toBeUndefined();
    writeFileSync(sockets.pathOf("file"), "");
    expect(await ask(sockets.pathOf("file"), "/v1/status")).toBeUndefined();
    expect(await ask(sockets.pathOf("file", "below"), "/v1/status")).toBeUndefined();
  });

  it("returns nothing if the agent ends during the request", async () => {
    const path = sockets.pathOf("ends");
    // Closing a socket with unread data in it resets the connection.
    const server = createServer({ pauseOnConnect: true }, (connection) => {
      server.close();
      setTimeout(() => connection.destroy(), 50);
    });
    await new Promise<void>((resolve) => server.listen(path, resolve));
    expect(await ask(path, "/v1/status")).toBeUndefined();
  });

  it("waits no longer than its timeout, whether nothing comes or too little", async () => {
    const silent = await sockets.openOther(() => undefined);
    await expect(ask(silent, "/v1/status", { timeoutMs: 100 })).rejects.toMatchObject({ code: "ETIMEDOUT" });
    const trickling = await sockets.openOther((send) => {
      send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
      const timer = setInterval(() => send("x"), 20);
      sockets.defer(() => clearInterval(timer));
    });
    await expect(ask(trickling, "/v1/status", { timeoutMs: 200 })).rejects.toMatchObject({
      code: "ETIMEDOUT",
      operation: "query the agent at",
    });
  });

  it.each([
    ["is no HTTP", "hello", /not HTTP/],
    ["breaks off", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", /ended after 2 bytes/],
    ["breaks off early", "HTTP/1.1 200 OK\r\nconte", /not HTTP/],
    ["is no JSON", answer("<html>"), /not JSON/],
    [
      "is an error without a reason",
      "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",
      /status 500: no reason given/,
    ],
  ])("refuses an answer that %s", async (_, text, reason) => {
    const path = await sockets.openOther((send) => send(text, "last"));
    await expect(ask(path, "/v1/status", { timeoutMs: 30_000 })).rejects.toThrow(reason);
  });

  it("reports missing permission", async () => {
    await sockets.open();
    chmodSync(sockets.socket, 0o000);
    const user = process.geteuid?.() ?? 0;
    // Root may open everything, so it switches to another user for the moment of connecting.
    if (user === 0) process.seteuid?.(65_534);
    const answer = ask(sockets.socket, "/v1/status");
    if (user === 0) process.seteuid?.(user);
    await expect(answer).rejects.toMatchObject({
      code: "EACCES",
      message: `query the agent at ${sockets.socket}: permission denied`,
    });
  });
});
