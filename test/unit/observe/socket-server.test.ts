// The agent's socket: a real server, with valid, invalid and malicious requests.
import { spawn } from "node:child_process";
import { existsSync, statSync, writeFileSync } from "node:fs";
import { connect } from "node:net";
import { describe, expect, it } from "vitest";
import type { StatusView } from "../../../src/observe/api-views.ts";
import { ask } from "../../../src/observe/socket-client.ts";
import { RequestError, type Route } from "../../../src/observe/socket-routes.ts";
import { serve } from "../../../src/observe/socket-server.ts";
import { STATUS, useSockets, VIEWS } from "./sockets.ts";

const sockets = useSockets();

/** Sends bytes and returns everything that is received until the other side closes. */
function talk(bytes: string | Buffer): Promise<string> {
  return new Promise((resolve, reject) => {
    const connection = connect(sockets.socket);
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

describe("a request", () => {
  it("gets the view that it names", async () => {
    await sockets.open();
    expect(await ask(sockets.socket, "/v1/status")).toEqual(STATUS);
    expect(await ask(sockets.socket, "/v1/endpoints")).toEqual([]);
    expect(await ask(sockets.socket, "/v1/policies")).toEqual([]);
    expect(await ask(sockets.socket, "/v1/names")).toEqual(VIEWS.names());
    expect(await ask(sockets.socket, "/v1/cluster")).toEqual(VIEWS.cluster());
  });

  it("is answered with the state at the time of the request", async () => {
    let applied = 1;
    await sockets.open({ ...VIEWS, status: () => ({ ...STATUS, generation: { wanted: 9, applied } }) });
    expect(await ask(sockets.socket, "/v1/status")).toMatchObject({ generation: { applied: 1 } });
    applied = 9;
    expect(await ask(sockets.socket, "/v1/status")).toMatchObject({ generation: { applied: 9 } });
  });

  it("can be one of many at once", async () => {
    await sockets.open();
    const answers = await Promise.all(
      Array.from({ length: 20 }, () => ask<StatusView>(sockets.socket, "/v1/status")),
    );
    expect(new Set(answers.map((answer) => answer?.pid))).toEqual(new Set([4711]));
  });

  it("gets megabytes whole", async () => {
    const addresses = Object.fromEntries(
      Array.from({ length: 100_000 }, (_, at) => [`10.0.0.${at}`, "alpha/a"]),
    );
    await sockets.open({ ...VIEWS, names: () => ({ ...VIEWS.names(), addresses }) });
    expect(await ask(sockets.socket, "/v1/names")).toMatchObject({ addresses });
  });

  it("for a view that throws is answered with the reason, and the next one is answered well", async () => {
    await sockets.open({
      ...VIEWS,
      names: () => {
        throw new Error("not compiled yet");
      },
    });
    await expect(ask(sockets.socket, "/v1/names")).rejects.toThrow("status 500: not compiled yet");
    expect(await ask(sockets.socket, "/v1/status")).toEqual(STATUS);
  });
});

describe("an invalid request", () => {
  it.each([
    ["an unknown path", "GET /v1/secrets HTTP/1.1\r\nhost: x\r\n\r\n", "404 Not Found", /no such path/],
    [
      "a path of another version",
      "GET /v2/status HTTP/1.1\r\nhost: x\r\n\r\n",
      "404 Not Found",
      /no such path/,
    ],
    [
      "a parameter that is not known",
      "GET /v1/status?x HTTP/1.1\r\nhost: x\r\n\r\n",
      "400 Bad Request",
      /^unknown parameter x; expected none$/,
    ],
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
      "a body that waits for 100-continue",
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
  ])("%s is refused in JSON, and the server goes on", async (_, bytes, status, reason) => {
    await sockets.open();
    const answer = await talk(bytes);
    expect(statusLine(answer)).toContain(status);
    expect(answer).toMatch(/content-type: application\/json/i);
    expect((bodyOf(answer) as { error: string }).error).toMatch(reason);
    expect(await ask(sockets.socket, "/v1/status")).toEqual(STATUS);
  });

  it("names what is allowed", async () => {
    await sockets.open();
    expect(await talk("PUT /v1/status HTTP/1.1\r\nhost: x\r\n\r\n")).toMatch(/allow: GET/i);
    await expect(ask(sockets.socket, "/v1/x")).rejects.toThrow(
      "/v1/status, /v1/endpoints, /v1/policies, /v1/names",
    );
  });

  it("of a route's own is distinguished from the agent's own failure", async () => {
    const routes: Route[] = [
      {
        method: "POST",
        path: "double",
        parameters: ["number"],
        answer: async (parameters) => {
          const number = Number(parameters.get("number"));
          if (Number.isNaN(number)) throw new RequestError("number: expected a number");
          if (number === 13) throw new Error("unlucky");
          return { doubled: number * 2 };
        },
      },
    ];
    await sockets.open(VIEWS, sockets.socket, { routes });
    const post = (query: string) => ask(sockets.socket, `/v1/double${query}`, { method: "POST" });
    expect(await post("?number=21")).toEqual({ doubled: 42 });
    await expect(post("?number=x")).rejects.toThrow("status 400: number: expected a number");
    await expect(post("?number=13")).rejects.toThrow("status 500: unlucky");
    await expect(post("?number=1&number=2")).rejects.toThrow("status 400: parameter number is given more");
    await expect(post("?factor=2")).rejects.toThrow("status 400: unknown parameter factor; expected number");
    await expect(ask(sockets.socket, "/v1/double")).rejects.toThrow(
      "status 405: GET is not allowed, only POST",
    );
  });

  it("that never ends is cut off, and blocks no other", async () => {
    await sockets.open();
    const slow = talk("GET /v1/status HTTP/1.1\r\nhost: ");
    expect(await ask(sockets.socket, "/v1/status")).toEqual(STATUS);
    expect(statusLine(await slow)).toContain("408");
  });

  it("that follows another on the same connection is ignored", async () => {
    await sockets.open();
    const twice = "GET /v1/status HTTP/1.1\r\nhost: x\r\n\r\n".repeat(2);
    expect((await talk(twice)).match(/HTTP\/1\.1 200/g)).toHaveLength(1);
  });
});

describe("the socket", () => {
  it("is for its owner alone, in a directory that is created if missing", async () => {
    await sockets.open();
    expect(statSync(sockets.socket).mode & 0o777).toBe(0o600);
    expect(statSync(sockets.pathOf("run")).mode & 0o777).toBe(0o755);
  });

  it("is for a group too if one is named", async () => {
    await sockets.open(VIEWS, sockets.socket, { group: process.getgid?.() ?? 0 });
    const { mode, gid } = statSync(sockets.socket);
    expect({ mode: mode & 0o777, gid }).toEqual({ mode: 0o660, gid: process.getgid?.() });
  });

  it("is removed with the server, and closing twice is no error", async () => {
    const api = await sockets.open();
    await api.close();
    await api.close();
    expect(existsSync(sockets.socket)).toBe(false);
    expect(await ask(sockets.socket, "/v1/status")).toBeUndefined();
  });

  it("of a living agent is not taken over, and the answer names it", async () => {
    await sockets.open();
    await expect(serve(sockets.socket, VIEWS)).rejects.toThrow(
      `listen at ${sockets.socket}: another agent runs (pid 4711)`,
    );
    expect(await ask(sockets.socket, "/v1/status")).toEqual(STATUS);
  });

  it("of one that hangs is not taken over either", async () => {
    const path = await sockets.openOther(() => undefined);
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ code: "EADDRINUSE" });
  });

  it("that a killed process left is replaced", async () => {
    const path = sockets.pathOf("stale.sock");
    await leaveStale(path);
    expect(existsSync(path)).toBe(true);
    expect(await ask(path, "/v1/status")).toBeUndefined();
    await sockets.open(VIEWS, path);
    expect(await ask(path, "/v1/status")).toEqual(STATUS);
  });

  it("does not replace a file of another type", async () => {
    const path = sockets.pathOf("file");
    writeFileSync(path, "precious");
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ code: "EEXIST" });
    expect(existsSync(path)).toBe(true);
  });

  it("needs a directory that can be created", async () => {
    writeFileSync(sockets.pathOf("file"), "");
    const path = sockets.pathOf("file", "agent.sock");
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ operation: "listen at", object: path });
  });

  it("needs a path within the kernel's limit", async () => {
    const path = sockets.pathOf("x".repeat(108));
    await expect(serve(path, VIEWS)).rejects.toMatchObject({ code: "ENAMETOOLONG" });
  });
});

/** A socket file without a listener, as `kill -9` leaves it. */
function leaveStale(path: string): Promise<void> {
  const program = `require("node:net").createServer().listen(${JSON.stringify(path)}, () => process.kill(process.pid, "SIGKILL"))`;
  return new Promise((resolve, reject) => {
    const child = spawn(process.execPath, ["-e", program], { stdio: "ignore" });
    child.once("error", reject);
    child.once("exit", () => resolve());
  });
}
