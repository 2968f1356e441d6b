// The API server that the other tests rely on: it rejects unknown users, stores objects unchanged, and survives a kill.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Manifest } from "./api.ts";
import { openServers, type Servers } from "./servers.ts";

let servers: Servers;

beforeAll(async () => {
  servers = await openServers();
});

afterAll(() => servers?.close());

const namespace = (name: string): Manifest => ({ apiVersion: "v1", kind: "Namespace", metadata: { name } });
const names = async () => (await servers.api.list("v1", "Namespace")).map(({ metadata }) => metadata.name);

describe("the API server", () => {
  it("rejects unknown users", async () => {
    const { openApi } = await import("./api.ts");
    const stranger = openApi({ ...servers, token: "a guess" });
    expect((await stranger.call("GET", "/api/v1/namespaces")).status).toBe(401);
    stranger.close();
  });

  it("keeps a policy as it is written, peers included", async () => {
    // The server is ready a moment before it has made this namespace.
    await expect.poll(names, { timeout: 30_000 }).toContain("default");
    const policy = {
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicy",
      metadata: { name: "from", namespace: "default" },
      spec: { podSelector: {}, ingress: [{ from: [{ podSelector: { matchLabels: { app: "a" } } }] }] },
    };
    const created = await servers.api.create(policy);
    expect(created["spec"]).toEqual({ ...policy.spec, policyTypes: ["Ingress"] });
    await servers.api.remove(policy);
  });

  it("killed and restarted, has all its objects", async () => {
    await servers.api.create(namespace("before-kill"));
    await servers.apiserver.kill();
    await expect(servers.api.call("GET", "/readyz")).rejects.toThrow();
    await servers.apiserver.start();
    expect(await names()).toContain("before-kill");
  });
});
