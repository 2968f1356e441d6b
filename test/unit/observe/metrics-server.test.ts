// The listener of metrics and probes, over real connections.
import { afterEach, describe, expect, it } from "vitest";
import { type MetricsServer, type Pages, serveMetrics } from "../../../src/observe/metrics/server.ts";

const open: MetricsServer[] = [];
afterEach(async () => {
  for (const server of open.splice(0)) await server.close();
});

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
  it("gives the metrics in the format that Prometheus asks for", async () => {
    const response = await (await serve())("/metrics?x=1");
    expect([response.status, response.headers.get("content-type")]).toEqual([200, PAGES.contentType]);
    expect(await response.text()).toBe("weir_problems 0\n");
  });

  it("says why the agent does not live or is not ready", async () => {
    const ask = await serve({ dead: () => "stuck", unready: () => "not yet" });
    for (const [path, reason] of [
      ["/livez", "stuck\n"],
      ["/readyz", "not yet\n"],
    ] as const) {
      const response = await ask(path);
      expect([response.status, await response.text()]).toEqual([503, reason]);
    }
    expect((await (await serve())("/readyz")).status).toBe(200);
  });

  it("refuses other paths and methods, and tells of a scrape that failed", async () => {
    const ask = await serve({ metrics: () => Promise.reject(new Error("map is gone")) });
    expect((await ask("/")).status).toBe(404);
    expect((await ask("/metrics", "POST")).status).toBe(405);
    expect(await (await ask("/livez", "HEAD")).text()).toBe("");
    const failed = await ask("/metrics");
    expect([failed.status, await failed.text()]).toEqual([500, "map is gone\n"]);
  });

  it("says where it cannot listen", async () => {
    const first = await serveMetrics({ host: "127.0.0.1", port: 0 }, PAGES);
    open.push(first);
    await expect(serveMetrics({ host: "127.0.0.1", port: first.port }, PAGES)).rejects.toMatchObject({
      code: "EADDRINUSE",
      message: expect.stringContaining(`listen for metrics at 127.0.0.1:${first.port}`),
    });
  });
});
