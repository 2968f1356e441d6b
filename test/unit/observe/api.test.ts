// The agent's socket: a real server and real clients, well-behaved and hostile, in a directory of the test's own.
import { spawn } from "node:child_process";
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { connect, createServer, type Server } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ask } from "../../../src/observe/client.ts";
import { type LocalApi, serve, type Views } from "../../../src/observe/server.ts";
import type { StatusView } from "../../../src/observe/view.ts";

const STATUS: StatusView = {
  version: "1.2.3",
  pid: 4711,
  startedAt: "2025-01-01T00:00:00.000Z",
  generation: { wanted: 2, applied: 2 },
  endpoints: 0,
  policies: 0,
  problems: [],
  capacity: [],
  hook: "tcx",
  source: "/etc/weir",
};

const VIEWS: Views = {
  status: () => STATUS,
  endpoints: () => [],
  policies: () => [],
  names: () => ({
    endpoints: { "7": "alpha/a" },
    addresses: {},
    identities: {},
    cidrs: {},
    policies: {},
    rows: {},
    classes: {},
  }),
};

let directory: string;
let socket: string;
const toClose: { close(): unknown }[] = [];

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wt-api-"));
  socket = join(directory, "run", "agent.sock");
});

afterEach(async () => {
  for (const each of toClose.splice(0)) await each.close();
  rmSync(directory, { recursive: true, force: true });
});

async function open(views: Views = VIEWS, path = socket): Promise<LocalApi> {
  const api = await serve(path, views);
  toClose.push(api);
  return api;
}

/** A server that is not ours: hands each connection to `speak` when it has heard something. Gives its path. */
async function openOther(speak: (send: (text: string, last?: "last") => void) => void): Promise<string> {
  const path = join(directory, `other-${toClose.length}.sock`);
  const server: Server = createServer((connection) => {
    connection.on("error", () => connection.destroy());
    connection.once("data", () =>
      speak((text, last) => (last === undefined ? connection.write(text) : connection.end(text))),
    );
    toClose.push({ close: () => connection.destroy() });
  });
  toClose.push({ close: () => server.close() });
  await new Promise<void>((resolve) => server.listen(path, resolve));
  return path;
}

/** Sends bytes and gives everything that comes back until the other side closes. */
function talk(bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const connection = connect(socket);
    let text = "";
    connection.on("data", (chunk) => {
      text += chunk.toString();
    });
    connection.on("close", () => resolve(text));
    connection.on("error", (error) => (text === "" ? reject(error) : resolve(text)));
    connection.write(bytes);
  });
}

const statusLine = (answer: string): string => answer.split("\r\n")[0] ?? "";
const bodyOf = (answer: string): unknown => JSON.parse(answer.slice(answer.indexOf("\r\n\r\n") + 4));

describe("a question", () => {
  it("gets the view that it names", async () => {
    await open();
    expect(await ask(socket, "/v1/status")).toEqual(STATUS);
    expect(await ask(socket, "/v1/endpoints")).toEqual([]);
    expect(await ask(socket, "/v1/policies")).toEqual([]);
    expect(await ask(socket, "/v1/names")).toEqual(VIEWS.names());
  });

  it("is answered with what is true when it is asked", async () => {
    let applied = 1;
    await open({ ...VIEWS, status: () => ({ ...STATUS, generation: { wanted: 9, applied } }) });
    expect(await ask(socket, "/v1/status")).toMatchObject({ generation: { applied: 1 } });
    applied = 9;
    expect(await ask(socket, "/v1/status")).toMatchObject({ generation: { applied: 9 } });
  });

  it("can be asked by many at once", async () => {
    await open();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => ask<StatusView>(socket, "/v1/status")),
    );
    expect(new Set(answers.map((answer) => answer?.pid))).toEqual(new Set([4711]));
  });

  it("gets megabytes whole", async () => {
    const addresses = Object.fromEntries(
      Array.from({ length: 100_000 }, (_, at) => [`10.0.0.${at}`, "alpha/a"]),
    );
    await open({ ...VIEWS, names: () => ({ ...VIEWS.names(), addresses }) });
    expect(await ask(socket, "/v1/names")).toMatchObject({ addresses });
  });

  it("for a view that throws is answered with the reason, and the next one is answered well", async () => {
    await open({
      ...VIEWS,
      names: () => {
        throw new Error("not compiled yet");
      },
    });
    await expect(ask(socket, "/v1/names")).rejects.toThrow("status 500: not compiled yet");
    expect(await ask(socket, "/v1/status")).toEqual(STATUS);
  });
});

describe("a wrong question", () => {
  it.each([
    ["an unknown path", "GET /v1/secrets HTTP/1.1\r\nhost: x\r\n\r\n", "404 Not Found", /no such path/],
    [
      "a path of another version",
      "GET /v2/status HTTP/1.1\r\nhost: x\r\n\r\n",
      "404 Not Found",
      /no such path/,
    ],
    ["a path with a query", "GET /v1/status?x HTTP/1.1\r\nhost: x\r\n\r\n", "404 Not Found", /no such path/],
    [
      "a path that climbs",
      "GET /v1/../etc/passwd HTTP/1.1\r\nhost: x\r\n\r\n",
      "404 Not Found",
      /no such path/,
    ],
    [
      "a property of all objects",
      "GET __proto__ HTTP/1.1\r\nhost: x\r\n\r\n",
      "400 Bad Request",
      /not an HTTP/,
    ],
    ["a POST", "POST /v1/status HTTP/1.1\r\nhost: x\r\n\r\n", "405 Method Not Allowed", /only GET/],
    ["a DELETE", "DELETE /v1/status HTTP/1.1\r\nhost: x\r\n\r\n", "405 Method Not Allowed", /only GET/],
    [
      "a body",
      "GET /v1/status HTTP/1.1\r\nhost: x\r\ncontent-length: 1000000\r\n\r\nxx",
      "413 Payload Too Large",
      /no body/,
    ],
    [
      "a body in chunks",
      "GET /v1/status HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n",
      "413 Payload Too Large",
      /no body/,
    ],
    [
      "a body that waits to be asked for",
      "POST /v1/status HTTP/1.1\r\nhost: x\r\nexpect: 100-continue\r\ncontent-length: 9\r\n\r\n",
      "405 Method Not Allowed",
      /only GET/,
    ],
    ["no HTTP at all", "\u0016\u0003\u0001 hello\r\n\r\n", "400 Bad Request", /not an HTTP/],
    [
      "two lengths",
      "GET / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n",
      "400 Bad Request",
      /not/,
    ],
    ["long headers", `GET / HTTP/1.1\r\nhost: ${"x".repeat(9_000)}\r\n\r\n`, "431 Request", /4096 bytes/],
    ["a long path", `GET /${"x".repeat(9_000)} HTTP/1.1\r\nhost: x\r\n\r\n`, "431 Request", /4096 bytes/],
  ])("%s is refused in JSON, and the server lives on", async (_, bytes, status, reason) => {
    await open();
    const answer = await talk(bytes);
    expect(statusLine(answer)).toContain(status);
    expect(answer).toMatch(/content-type: application\/json/i);
    expect((bodyOf(answer) as { error: string }).error).toMatch(reason);
    expect(await ask(socket, "/v1/status")).toEqual(STATUS);
  });

  it("names what is allowed", async () => {
    await open();
    expect(await talk("PUT /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")).toMatch(/allow: GET/i);
    await expect(ask(socket, "/v1/x")).rejects.toThrow("/v1/status, /v1/endpoints, /v1/policies, /v1/names");
  });

  it("never ends is cut off, and holds up nobody", async () => {
    await open();
    const slow = talk("GET /v1/status HTTP/1.1\r\nhost: ");
    expect(await ask(socket, "/v1/status")).toEqual(STATUS);
    expect(statusLine(await slow)).toContain("408");
  });

  it("that follows another on the same connection is not heard", async () => {
    await open();
    const twice = "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    expect((await talk(twice)).match(/HTTP\/1\.1 200/g)).toHaveLength(1);
  });
});

describe("the socket", () => {
  it("is for its owner alone, in a directory that is made where it is missing", async () => {
    await open();
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    expect(statSync(join(directory, "run")).mode & 0o777).toBe(0o755);
  });

  it("goes with the server, and closing twice is no error", async () => {
    const api = await open();
    await api.close();
    await api.close();
    expect(existsSync(socket)).toBe(false);
    expect(await ask(socket, "/v1/status")).toBeUndefined();
  });

  it("of a living agent is not taken over, and the answer names it", async () => {
    await open();
    await expect(serve(socket, VIEWS)).rejects.toThrow(`listen at ${socket}: another agent runs (pid 4711)`);
    expect(await ask(socket, "/v1/status")).toEqual(STATUS);
  });

  it("of one that hangs is not taken over either", async () => {
    const path = await openOther(() => undefined);
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  it("that a killed process left is replaced", async () => {
    const path = join(directory, "stale.sock");
    await leaveStale(path);
    expect(existsSync(path)).toBe(true);
    expect(await ask(path, "/v1/status")).toBeUndefined();
    await open(VIEWS, path);
    expect(await ask(path, "/v1/status")).toEqual(STATUS);
  });

  it("does not replace a file that is no socket", async () => {
    const path = join(directory, "file");
    writeFileSync(path, "precious");
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ code: "EEXIST" });
    expect(existsSync(path)).toBe(true);
  });

  it("needs a directory that can be made", async () => {
    writeFileSync(join(directory, "file"), "");
    const path = join(directory, "file", "agent.sock");
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ operation: "listen at", object: path });
  });

  it("needs a path that the kernel has room for", async () => {
    const path = join(directory, "x".repeat(108));
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ code: "ENAMETOOLONG" });
  });
});

/** A socket file with nobody behind it, as `kill -9` leaves it. */
function leaveStale(path: string): Promise<void> {
  const program = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["-e", program], { stdio: "ignore" });
    child.once("error", reject);
    child.once("exit", () => resolve());
  });
}

describe("the client", () => {
  const answer = (body: string): string => `HTTP/1.1 200 OK\r\ncontent-length: ${body.length}\r\n\r\n${body}`;

  it("gives nothing where nobody listens", async () => {
    expect(await ask(join(directory, "none"), "/v1/status")).toBeUndefined();
    expect(await ask(join(directory, "no", "such", "directory"), "/v1/status")).toBeUndefined();
    writeFileSync(join(directory, "file"), "");
    expect(await ask(join(directory, "file"), "/v1/status")).toBeUndefined();
    expect(await ask(join(directory, "file", "below"), "/v1/status")).toBeUndefined();
  });

  it("waits no longer than it was told, whether nothing comes or too little", async () => {
    const silent = await openOther(() => undefined);
    await expect(ask(silent, "/v1/status", 100)).rejects.toMatchObject({ code: "ETIMEDOUT" });
    const trickling = await openOther((send) => {
      send("HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n");
      const timer = setInterval(() => send("x"), 20);
      toClose.push({ close: () => clearInterval(timer) });
    });
    await expect(ask(trickling, "/v1/status", 200)).rejects.toMatchObject({
      code: "ETIMEDOUT",
      operation: "ask the agent at",
    });
  });

  it.each([
    ["is no HTTP", "hello", /not HTTP/],
    ["breaks off", "HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\n{}", /broke off after 2 bytes/],
    ["breaks off early", "HTTP/1.1 200 OK\r\nconte", /not HTTP/],
    ["is no JSON", answer("<html>"), /not JSON/],
    [
      "is an error without a reason",
      "HTTP/1.1 500 X\r\ncontent-length: 0\r\n\r\n",
      /status 500: no reason given/,
    ],
  ])("refuses an answer that %s", async (_, text, reason) => {
    const path = await openOther((send) => send(text, "last"));
    await expect(ask(path, "/v1/status", 1_000)).rejects.toThrow(reason);
  });

  it("says so where it may not ask", async () => {
    await open();
    chmodSync(socket, 0o000);
    const user = process.geteuid?.() ?? 0;
    // Root may open everything, so it is somebody else for the moment of connecting.
    if (user === 0) process.seteuid?.(65_534);
    const answer = ask(socket, "/v1/status");
    if (user === 0) process.seteuid?.(user);
    await expect(answer).rejects.toMatchObject({
      code: "EACCES",
      message: `ask the agent at ${socket}: permission denied`,
    });
  });
});
