// The listeners of metrics and probes, over real connections.

import { once } from "node:events";
import { connect, type Socket } from "node:net";
import { afterEach, describe, expect, it } from "vitest";
import { type PageServer, type Pages, serveMetrics, serveProbes } from "../../../src/observe/http-pages.ts";

const open: PageServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

const AT = { host: "127.0.0.1", port: 0 };
const PAGES: Pages = {
  contentType: "text/plain; version=0.0.4",
  metrics: async () => "weir_problems 0\n",
  dead: () => undefined,
  unready: () => undefined,
};

async function serve(
  pages: Partial<Pages> = {},
): Promise<(path: string, method?: string) => Promise<Response>> {
  const server = await serveMetrics({ host: "127.0.0.1", port: 0 }, { ...PAGES, ...pages });
  open.push(server);
  return (path, method = "GET") => fetch(`http://127.0.0.1:${server.port}${path}`, { method });
}

describe("the listener", () => {
  it("serves the metrics in the format that Prometheus requests", async () => {
    const response = await (await serve())("/metrics?x=1");
    expect([response.status, response.headers.get("content-type")]).toEqual([200, PAGES.contentType]);
    expect(await response.text()).toBe("weir_problems 0\n");
  });

  it("reports why the agent does not live or is not ready", async () => {
    const ask = await serve({ dead: () => "stuck", unready: () => "not yet" });
    for (const [path, reason] of [
      ["/livez", "stuck\n"],
      ["/healthz", "stuck\n"],
      ["/readyz", "not yet\n"],
    ] as const) {
      const response = await ask(path);
      expect([response.status, await response.text()]).toEqual([503, reason]);
    }
    expect((await (await serve())("/readyz")).status).toBe(200);
  });

  it("refuses other paths and methods, and reports a failed scrape", async () => {
    const ask = await serve({ metrics: () => Promise.reject(new Error("map is gone")) });
    expect((await ask("/")).status).toBe(404);
    expect((await ask("/metrics", "POST")).status).toBe(405);
    expect(await (await ask("/livez", "HEAD")).text()).toBe("");
    const failed = await ask("/metrics");
    expect([failed.status, await failed.text()]).toEqual([500, "map is gone\n"]);
  });

  it("reports an address that it cannot listen on", async () => {
    const first = await serveMetrics({ host: "127.0.0.1", port: 0 }, PAGES);
    open.push(first);
    await expect(serveMetrics({ host: "127.0.0.1", port: first.port }, PAGES)).rejects.toMatchObject({
      code: "EADDRINUSE",
      message: expect.stringContaining(`listen for metrics at 127.0.0.1:${first.port}`),
    });
  });
});

describe("the listener of probes", () => {
  it("answers probes and nothing else", async () => {
    const server = await serveProbes(AT, { dead: () => undefined, unready: () => "not yet" });
    open.push(server);
    const statusOf = async (path: string) => (await fetch(`http://127.0.0.1:${server.port}${path}`)).status;
    expect(await statusOf("/livez")).toBe(200);
    expect(await statusOf("/healthz")).toBe(200);
    expect(await statusOf("/readyz")).toBe(503);
    expect(await statusOf("/metrics")).toBe(404);
    expect(await statusOf("/toString")).toBe(404);
  });
});

describe("a client", () => {
  const sockets: Socket[] = [];
  afterEach(() => {
    for (const socket of sockets.splice(0)) socket.destroy();
  });

  async function talk(port: number, localAddress: string, text: string): Promise<Socket> {
    const socket = connect({ host: "127.0.0.1", port, localAddress });
    socket.on("error", () => undefined);
    sockets.push(socket);
    await once(socket, "connect");
    socket.write(text);
    return socket;
  }

  /** All data until the other end closes. */
  async function heardBy(socket: Socket): Promise<string> {
    let text = "";
    for await (const chunk of socket) text += String(chunk);
    return text;
  }

  it("that holds connections does not block others", async () => {
    const server = await serveMetrics(AT, PAGES);
    open.push(server);
    for (let count = 0; count < 300; count += 1)
      await talk(server.port, "127.0.0.7", "GET /metrics HTTP/1.1\r\nx: ");
    expect(server.refused()).toBeGreaterThan(200);
    for (const path of ["/livez", "/metrics"])
      expect((await fetch(`http://127.0.0.1:${server.port}${path}`)).status).toBe(200);
  });

  it("that never ends its request is disconnected", async () => {
    const server = await serveMetrics(AT, PAGES);
    open.push(server);
    const socket = await talk(server.port, "127.0.0.7", "GET /metrics HTTP/1.1\r\nx: ");
    expect(await heardBy(socket)).toMatch(/^HTTP\/1\.1 408/);
  });

  it("gets one answer at a time: a pipeline of requests is cut off", async () => {
    let asked = 0;
    const metrics = async () => {
      asked += 1;
      await new Promise((resolve) => setTimeout(resolve, 50));
      return "x 0\n";
    };
    const server = await serveMetrics(AT, { ...PAGES, metrics });
    open.push(server);
    const request = "GET /metrics HTTP/1.1\r\nhost: x\r\n\r\n";
    await heardBy(await talk(server.port, "127.0.0.7", request.repeat(1_000))).catch(() => "");
    expect(asked).toBe(1);
  });
});
