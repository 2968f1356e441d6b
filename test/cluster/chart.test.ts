// The chart's objects, sent to a real API server: it accepts each of them, and the agent's account has the rights it needs, no more.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type KubernetesObject, objectsOf, renderChart } from "../../tools/chart/render.ts";
import { CHART_SAMPLES } from "../../tools/chart/samples.ts";
import { runIn } from "../unit/cli/world.ts";
import type { Manifest } from "./api.ts";
import { openServers, type Servers } from "./servers.ts";

let servers: Servers;

beforeAll(async () => {
  servers = await openServers();
  const metadata = { name: "weir-system" };
  await servers.api.create({ apiVersion: "v1", kind: "Namespace", metadata });
});

afterAll(() => servers?.close());

/** Kinds that the server itself does not define. */
const FOREIGN = ["monitoring.coreos.com/v1"];

/** The path under which objects of the kind are created. */
async function collectionOf({ apiVersion, kind, metadata }: KubernetesObject): Promise<string> {
  const root = apiVersion.includes("/") ? `/apis/${apiVersion}` : `/api/${apiVersion}`;
  const { resources } = await servers.api.must<{ resources: { name: string; kind: string }[] }>("GET", root);
  const found = resources.find((each) => each.kind === kind && !each.name.includes("/"));
  const { namespace } = metadata;
  return `${root}/${namespace === undefined ? "" : `namespaces/${namespace}/`}${found?.name}`;
}

describe("the API server takes the chart's objects", () => {
  it.each(Object.entries(CHART_SAMPLES))("%s", async (_, rendering) => {
    const objects = objectsOf(renderChart(rendering));
    const known = objects.filter(({ apiVersion }) => !FOREIGN.includes(apiVersion));
    expect(known.length).toBeGreaterThan(3);
    for (const object of known) {
      const path = `${await collectionOf(object)}?dryRun=All`;
      await servers.api.must("POST", path, object as unknown as Manifest);
    }
  });

  it("and refuses one that is wrong", async () => {
    const [object] = objectsOf(renderChart({ set: ["updateStrategy.type=Never"] })).filter(
      ({ kind, metadata }) => kind === "DaemonSet" && metadata.name === "weir",
    );
    if (object === undefined) throw new Error("no DaemonSet");
    const answer = await servers.api.call("POST", `${await collectionOf(object)}?dryRun=All`, object);
    expect(answer.status).toBe(422);
  });
});

describe("the agent's account", () => {
  beforeAll(async () => {
    const wanted = ["ClusterRole", "ClusterRoleBinding"];
    for (const object of objectsOf(renderChart({})).filter(({ kind }) => wanted.includes(kind)))
      await servers.api.must("POST", await collectionOf(object), object);
  });

  const allowed = async (verb: string, group: string, resource: string): Promise<boolean> => {
    const [name, subresource = ""] = resource.split("/");
    const { status } = await servers.api.must<{ status: { allowed: boolean } }>(
      "POST",
      "/apis/authorization.k8s.io/v1/subjectaccessreviews",
      {
        apiVersion: "authorization.k8s.io/v1",
        kind: "SubjectAccessReview",
        spec: {
          user: "system:serviceaccount:kube-system:weir",
          groups: ["system:serviceaccounts", "system:authenticated"],
          resourceAttributes: { verb, group, resource: name, subresource, namespace: "default" },
        },
      },
    );
    return status.allowed;
  };

  it.each([
    ["", "pods"],
    ["", "namespaces"],
    ["", "services"],
    ["", "nodes"],
    ["networking.k8s.io", "networkpolicies"],
    ["policy.networking.k8s.io", "clusternetworkpolicies"],
    ["discovery.k8s.io", "endpointslices"],
  ])("reads, and does not write: %s %s", async (group, resource) => {
    for (const verb of ["list", "watch"]) expect(await allowed(verb, group, resource)).toBe(true);
    for (const verb of ["get", "create", "update", "patch", "delete"])
      expect(await allowed(verb, group, resource)).toBe(false);
  });

  it("creates Events, and does nothing else with them", async () => {
    expect(await allowed("create", "events.k8s.io", "events")).toBe(true);
    for (const verb of ["get", "list", "watch", "update", "patch", "delete"])
      for (const group of ["", "events.k8s.io"]) expect(await allowed(verb, group, "events")).toBe(false);
  });

  it.each([
    ["get", "", "secrets"],
    ["list", "", "configmaps"],
    ["create", "", "pods/exec"],
    ["patch", "", "nodes/status"],
    ["impersonate", "", "users"],
    ["create", "rbac.authorization.k8s.io", "clusterrolebindings"],
  ])("has no right to %s %s %s", async (verb, group, resource) => {
    expect(await allowed(verb, group, resource)).toBe(false);
  });
});

describe("weir cleanup --wait-for", () => {
  let directory: string;
  let kubeconfig: string;
  const names = { namespace: "weir-system", name: "weir-cleanup" };
  const path = "/apis/apps/v1/namespaces/weir-system/daemonsets/weir-cleanup";

  beforeAll(async () => {
    directory = mkdtempSync(join(tmpdir(), "wt-wait-"));
    kubeconfig = join(directory, "kubeconfig");
    // As the hook's own account, so with only the rights that the chart gives it.
    for (const object of objectsOf(
      renderChart({ namespace: names.namespace, set: ["config.nodeCondition=true"] }),
    ))
      if (object.metadata.name === names.name && object.kind !== "Job")
        await servers.api.must("POST", await collectionOf(object), object);
    const account = `/api/v1/namespaces/${names.namespace}/serviceaccounts/${names.name}`;
    const { status } = await servers.api.must<{ status: { token: string } }>("POST", `${account}/token`, {
      apiVersion: "authentication.k8s.io/v1",
      kind: "TokenRequest",
      spec: {},
    });
    const { url: server, ca } = servers;
    const config = {
      clusters: [{ name: "c", cluster: { server, "certificate-authority": ca } }],
      users: [{ name: "u", user: { token: status.token } }],
      contexts: [{ name: "x", context: { cluster: "c", user: "u" } }],
      "current-context": "x",
    };
    writeFileSync(kubeconfig, JSON.stringify(config));
  });

  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  /** In place of the DaemonSet controller, which does not run here. */
  const tell = (status: Record<string, number>): Promise<unknown> =>
    servers.api.must("PATCH", `${path}/status`, {
      status: { currentNumberScheduled: 0, numberMisscheduled: 0, ...status },
    });

  const wait = (timeout: number, ...more: readonly string[]) =>
    runIn([
      "cleanup",
      `--wait-for=${names.namespace}/${names.name}`,
      `--timeout=${timeout}`,
      `--kubeconfig=${kubeconfig}`,
      ...more,
    ]);

  it("ends when every node is clean, and not before", async () => {
    let ended = false;
    const waiting = wait(120).finally(() => {
      ended = true;
    });
    await tell({ observedGeneration: 1, desiredNumberScheduled: 3, numberReady: 1 });
    await sleep(2_500);
    expect(ended).toBe(false);
    await tell({ observedGeneration: 1, desiredNumberScheduled: 3, numberReady: 3 });
    const { exitCode, stdout, stderr } = await waiting;
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(
      /^(?:the DaemonSet is not yet on the nodes\n)?(?:1 of 3 nodes are clean\n)?3 of 3 nodes are clean\n$/,
    );
  });

  it("removes the condition of Weir, and no other, from all nodes", async () => {
    const conditions = (...types: readonly string[]) =>
      types.map((type) => ({ type, status: "True", reason: "R", message: "m" }));
    const pathOf = (name: string): string => `/api/v1/nodes/${name}`;
    const weirs = "weir.dev/PolicyEnforced";
    // More than one page.
    const names = Array.from({ length: 60 }, (_, index) => `node-${index}`);
    for (const name of names) {
      await servers.api.create({ apiVersion: "v1", kind: "Node", metadata: { name } });
      await servers.api.must("PATCH", `${pathOf(name)}/status`, {
        status: { conditions: conditions("Ready", ...(name === "node-7" ? [] : [weirs]), "Other") },
      });
    }
    await tell({ observedGeneration: 1, desiredNumberScheduled: 3, numberReady: 3 });
    const { exitCode, stdout, stderr } = await wait(60, "--node-condition");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    const removed = [...stdout.matchAll(/^(\S+): condition removed$/gm)].map(([, name]) => name);
    expect(removed.toSorted()).toEqual(names.filter((name) => name !== "node-7").toSorted());
    for (const name of names) {
      const { status } = await servers.api.must<{ status: { conditions: { type: string }[] } }>(
        "GET",
        pathOf(name),
      );
      expect(status.conditions.map(({ type }) => type)).toEqual(["Ready", "Other"]);
    }
    expect((await wait(60, "--node-condition")).stdout).not.toContain("removed");
  });

  it("gives up in time, and reports its progress", async () => {
    await tell({ observedGeneration: 1, desiredNumberScheduled: 3, numberReady: 2 });
    const { exitCode, stderr } = await wait(5);
    expect(exitCode).toBe(1);
    expect(stderr).toMatch(
      /^weir: 5 s have passed, and not every node is clean: 2 of 3 nodes are clean; which: kubectl /,
    );
  });

  it("reports the API server's error", async () => {
    await servers.api.must("DELETE", path);
    const { exitCode, stderr } = await wait(5);
    expect(exitCode).toBe(1);
    expect(stderr).toContain("not found");
  });
});
