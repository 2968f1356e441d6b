// The options of kubectl that say which cluster, and as whom, over a kubeconfig.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, describe, expect, it } from "vitest";
import { type ClusterOptions, openCluster } from "../../../../src/cli/plugin/cluster-access.ts";

const directory = mkdtempSync(join(tmpdir(), "wt-kubeconfig-"));
afterAll(() => rmSync(directory, { recursive: true }));

const kubeconfig = join(directory, "config");
writeFileSync(
  kubeconfig,
  JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    "current-context": "one",
    clusters: [
      { name: "first", cluster: { server: "https://first:6443", "certificate-authority-data": "Zmlyc3Q=" } },
      { name: "second", cluster: { server: "https://second:6443" } },
    ],
    users: [
      { name: "alice", user: { token: "alices" } },
      { name: "bob", user: { token: "bobs" } },
    ],
    contexts: [
      { name: "one", context: { cluster: "first", user: "alice" } },
      { name: "two", context: { cluster: "second", user: "bob" } },
    ],
  }),
);

async function opened(options: Partial<ClusterOptions>) {
  const config = openCluster({ kubeconfig, timeoutMs: 0, ...options });
  const request: Record<string, unknown> = {};
  await config.applyToHTTPSOptions(request);
  const { ca, headers = {}, rejectUnauthorized, servername } = request;
  return {
    server: config.getCurrentCluster()?.server,
    ...(headers as object),
    ...(ca === undefined || ca === null ? {} : { ca: String(ca) }),
    ...(rejectUnauthorized === undefined ? {} : { rejectUnauthorized }),
    ...(servername === undefined ? {} : { servername }),
  };
}

const FIRST = { server: "https://first:6443", ca: "first", Authorization: "Bearer alices" };

describe("the options of kubectl", () => {
  it.each<[Partial<ClusterOptions>, object]>([
    [{}, FIRST],
    [{ context: "two" }, { server: "https://second:6443", Authorization: "Bearer bobs" }],
    [{ user: "bob" }, { ...FIRST, Authorization: "Bearer bobs" }],
    [{ cluster: "second" }, { server: "https://second:6443", Authorization: "Bearer alices" }],
    [{ token: "other" }, { ...FIRST, Authorization: "Bearer other" }],
    [{ server: "https://third" }, { ...FIRST, server: "https://third" }],
    [{ as: "carol" }, { ...FIRST, "Impersonate-User": "carol" }],
    [
      { as: "carol", asGroup: ["g", "h"] },
      { ...FIRST, "Impersonate-User": "carol", "Impersonate-Group": ["g", "h"] },
    ],
    [{ insecureSkipTlsVerify: true }, { ...FIRST, rejectUnauthorized: false }],
    [{ tlsServerName: "name" }, { ...FIRST, servername: "name" }],
    [
      { certificateAuthority: kubeconfig },
      expect.objectContaining({ ca: expect.stringContaining("clusters") }),
    ],
  ])("%j", async (options, expected) => {
    expect(await opened(options)).toEqual(expected);
  });

  it.each<[Partial<ClusterOptions>, number]>([
    [{ context: "none" }, 4],
    [{ cluster: "none" }, 4],
    [{ user: "none" }, 4],
    [{ asGroup: ["g"] }, 2],
    [{ kubeconfig: "/none" }, 1],
  ])("%j is an error", (options, exitCode) => {
    expect(() => openCluster({ kubeconfig, timeoutMs: 0, ...options })).toThrow(
      expect.objectContaining({ exitCode }),
    );
  });
});
