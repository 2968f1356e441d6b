// Interfaces keep their pods' policies for as long as they exist: whatever happens to the objects, the agent, its file and its layout.

import { existsSync, readdirSync, renameSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PodProcess } from "../../src/lab/pod-process-client.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import type { EndpointView } from "../../src/observe/api-views.ts";
import { type Objects, openObjects, openServer, type TestServer } from "../unit/source/apiserver/server.ts";
import { kubeconfigText } from "../unit/source/apiserver/world.ts";
import { type CniWorld, openCniWorld, probeFrom, type Sandbox } from "./cni-world.ts";

const PORT = 5000;
const NODE = "here";

const POLICY = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace: "alpha", name: "shut" },
  spec: { podSelector: { matchLabels: { role: "shut" } }, policyTypes: ["Ingress", "Egress"] },
};

/** Where the agent reads from: files, or an API server. */
interface Source {
  readonly args: readonly string[];
  put(object: Manifest): void;
  remove(kind: "Pod" | "NetworkPolicy", name: string): void;
  close(): Promise<void>;
}

interface Manifest {
  readonly kind: string;
  readonly metadata: { readonly name: string; readonly [field: string]: unknown };
  readonly [field: string]: unknown;
}

async function openFiles({ manifests }: CniWorld): Promise<Source> {
  const file = (kind: string, name: string): string => `${kind.toLowerCase()}-${name}.yaml`;
  return {
    args: ["--manifests", manifests.path],
    put: (object) => manifests.put(file(object.kind, object.metadata.name), [object]),
    remove: (kind, name) => manifests.remove(file(kind, name)),
    close: () => Promise.resolve(),
  };
}

async function openApi({ paths }: CniWorld): Promise<Source> {
  const objects: Objects = openObjects();
  const server: TestServer = await openServer(objects);
  const kubeconfig = join(dirname(paths.socket), "kubeconfig");
  const target = { server: server.url, "insecure-skip-tls-verify": true };
  writeFileSync(kubeconfig, kubeconfigText(target, {}));
  server.put("Node", { metadata: { name: NODE } });
  return {
    args: ["--kubeconfig", kubeconfig, "--node-name", NODE, "--no-kubernetes-events"],
    put: (object) => server.put(object.kind as "Pod", object as never),
    remove: (kind, name) => server.remove(kind, `alpha/${name}`),
    close: () => server.close(),
  };
}

interface Wired {
  readonly sandbox: Sandbox;
  readonly addresses: readonly string[];
  readonly process: PodProcess;
}

const ROLES = { server: "open", client: "open", job: "shut", claimed: "shut" } as const;
type Name = keyof typeof ROLES;

describe.each([
  ["ptp", "files", 81, openFiles],
  ["ptp", "an API server", 82, openApi],
  ["bridge", "files", 83, openFiles],
  ["bridge", "an API server", 84, openApi],
] as const)("after %s, from %s", (network, _, net, open) => {
  let world: CniWorld;
  let source: Source;
  let agent: Agent;
  const pods = new Map<Name, Wired>();
  const at = (name: Name): Wired => pods.get(name) as Wired;

  const podOf = (name: string, role: string, status: object): Manifest => ({
    apiVersion: "v1",
    kind: "Pod",
    metadata: { namespace: "alpha", name, labels: { role } },
    spec: { nodeName: NODE, containers: [{ name: "main", image: "registry.example/main:1" }] },
    status,
  });
  const running = (addresses: readonly string[]): object => ({
    phase: "Running",
    podIP: addresses[0],
    podIPs: addresses.map((ip) => ({ ip })),
  });

  async function wire(name: Name): Promise<Sandbox> {
    const sandbox = world.sandbox(`alpha/${name}`);
    const { output } = await world.network("ADD", sandbox);
    const { ips } = output as unknown as { ips: { address: string }[] };
    const addresses = ips.map(({ address }) => address.replace(/\/.*/, ""));
    const process = await world.process(sandbox, { addresses, port: PORT });
    pods.set(name, { sandbox, addresses, process });
    if (name !== "claimed") {
      source.put(podOf(name, ROLES[name], running(addresses)));
      return sandbox;
    }
    // Only the plugin reports which addresses it has.
    source.put(podOf(name, ROLES[name], {}));
    const added = await world.call("ADD", sandbox, { prevResult: output, timeoutMs: 60_000 });
    expect(added).toMatchObject({ status: 0 });
    return sandbox;
  }

  const endpoints = async (): Promise<readonly EndpointView[]> =>
    JSON.parse((await world.weir("get", "endpoints", "-o", "json")).stdout) as EndpointView[];

  const states = async (): Promise<string[]> =>
    (await endpoints())
      .filter(({ name }) => name in ROLES)
      .map(({ name, state, retained }) =>
        [name, state, ...(retained === undefined ? [] : [retained.why])].join(": "),
      )
      .sort();

  const becomes = (expected: readonly string[]) =>
    expect.poll(states, { timeout: 30_000, interval: 100 }).toEqual([...expected].sort());

  /** What passes between pods, in both families: nothing to and from the isolated ones. */
  async function passes(
    isOpen = ([from, to]: readonly [Name, Name]) => ROLES[from] === "open" && ROLES[to] === "open",
  ): Promise<string[]> {
    const pairs: readonly (readonly [Name, Name])[] = [
      ["client", "server"],
      ["job", "server"],
      ["claimed", "server"],
      ["client", "job"],
      ["client", "claimed"],
    ];
    const asked = pairs.flatMap(([from, to]) =>
      at(to).addresses.map(async (address) => {
        const timeoutMs = isOpen([from, to]) ? 10_000 : 1_000;
        const probe = { kind: "udp", address, port: PORT, timeoutMs } as const;
        const { result } = await probeFrom(at(from).process, probe);
        return `${from} to ${to} by ${address.includes(":") ? "IPv6" : "IPv4"}: ${result}`;
      }),
    );
    return (await Promise.all(asked)).sort();
  }

  const HOLDS = [
    "client to server",
    "job to server",
    "claimed to server",
    "client to job",
    "client to claimed",
  ]
    .flatMap((pair) =>
      ["IPv4", "IPv6"].map(
        (family) => `${pair} by ${family}: ${pair === "client to server" ? "reached" : "silent"}`,
      ),
    )
    .sort();

  const GONE = "its object was deleted";
  const KNOWN = ["server: enforced", "client: enforced"];

  const start = async (): Promise<void> => {
    agent = await world.run(...source.args);
  };

  /** To the next agent the pins are those of another build. Returns their current path. */
  function renameLayout(): string {
    const digest = readdirSync(world.paths.bpffs).find((name) => /^[0-9a-f]{16}$/.test(name)) as string;
    const other = join(world.paths.bpffs, "0123456789abcdef");
    renameSync(join(world.paths.bpffs, digest), other);
    return other;
  }

  beforeAll(async () => {
    world = openCniWorld({ prefix: `wt-r${net}`, network, net });
    source = await open(world);
    source.put({ kind: "Namespace", apiVersion: "v1", metadata: { name: "alpha" } });
    source.put(POLICY);
    await start();
    for (const name of Object.keys(ROLES) as Name[]) await wire(name);
  });

  afterAll(async () => {
    world?.close();
    await source?.close();
  });

  it("pods are isolated", async () => {
    await becomes([...KNOWN, "job: enforced", "claimed: enforced"]);
    expect(await passes()).toEqual(HOLDS);
  });

  it("when the status loses its addresses", async () => {
    source.put(podOf("job", "shut", { phase: "Running" }));
    await becomes([...KNOWN, "job: retained: its status has no address any more", "claimed: enforced"]);
    expect(await passes()).toEqual(HOLDS);
  });

  it("when they have Failed or Succeeded", async () => {
    source.put(podOf("job", "shut", { ...running(at("job").addresses), phase: "Failed" }));
    source.put(podOf("claimed", "shut", { phase: "Succeeded" }));
    const why = "its phase is Succeeded or Failed";
    await becomes([...KNOWN, `job: retained: ${why}`, `claimed: retained: ${why}`]);
    expect(await passes()).toEqual(HOLDS);
  });

  it("when their objects are deleted", async () => {
    source.remove("Pod", "job");
    source.remove("Pod", "claimed");
    await becomes([...KNOWN, `job: retained: ${GONE}`, `claimed: retained: ${GONE}`]);
    expect(await passes()).toEqual(HOLDS);
    const status = await world.weir("status");
    expect(status.stdout).toMatch(/^retained: +alpha\/job \(.*\), for .*: its object was deleted$/m);
  });

  it("when the agent is killed, and with the next one", async () => {
    const before = (await endpoints()).find(({ name }) => name === "job")?.retained?.since;
    await agent.kill();
    expect(await passes()).toEqual(HOLDS);
    await start();
    await becomes([...KNOWN, `job: retained: ${GONE}`, `claimed: retained: ${GONE}`]);
    expect((await endpoints()).find(({ name }) => name === "job")?.retained?.since).toBe(before);
    expect(await passes()).toEqual(HOLDS);
  });

  it("when the next agent has another layout, whose maps are empty", async () => {
    await agent.stop();
    const other = renameLayout();
    await start();
    await expect.poll(() => existsSync(other), { timeout: 30_000 }).toBe(false);
    await becomes([...KNOWN, `job: retained: ${GONE}`, `claimed: retained: ${GONE}`]);
    expect(await passes()).toEqual(HOLDS);
  });

  it("when the policies are deleted", async () => {
    source.remove("NetworkPolicy", "shut");
    await expect
      .poll(async () => (await endpoints()).map(({ ingress }) => ingress.isolatedBy.length), {
        timeout: 30_000,
      })
      .toEqual([0, 0, 0, 0]);
    expect(await passes()).toEqual(HOLDS);
  });

  it("when another pod claims their addresses", async () => {
    source.put(podOf("aaa", "open", running(at("job").addresses)));
    source.put(podOf("zzz", "open", running(at("claimed").addresses)));
    await expect
      .poll(async () => (await endpoints()).map(({ name, state }) => `${name}: ${state}`).sort(), {
        timeout: 30_000,
      })
      .toEqual([
        "aaa: no interface",
        "claimed: retained",
        "client: enforced",
        "job: retained",
        "server: enforced",
        "zzz: no interface",
      ]);
    expect(await passes()).toEqual(HOLDS);
    source.remove("Pod", "aaa");
    source.remove("Pod", "zzz");
  });

  it("when the file of interface ownership is damaged, and the layout is another one, too", async () => {
    const file = join(dirname(world.paths.socket), "interfaces.json");
    for (const damage of ["", "{}"]) {
      await agent.kill();
      expect(existsSync(file)).toBe(true);
      writeFileSync(file, damage);
      if (damage !== "") renameLayout();
      const log = world.run(...source.args);
      agent = await log;
      expect(agent.stderr).toMatch(/interfaces\.json/);
      expect(await passes()).toEqual(HOLDS);
      const unknown = (await endpoints()).filter(({ namespace }) => namespace === "(unknown)");
      expect(unknown.map(({ state, ingress, egress }) => [state, ingress.closed, egress.closed])).toEqual([
        ["retained", true, true],
        ["retained", true, true],
      ]);
    }
  });

  it("until the interfaces are removed: the next pods of their names are judged by themselves", async () => {
    for (const name of ["job", "claimed"] as const) {
      const { sandbox, process } = at(name);
      await world.del(sandbox);
      process.close();
    }
    await becomes(KNOWN);
    for (const name of ["job", "claimed"] as const) await wire(name);
    await becomes([...KNOWN, "job: enforced", "claimed: enforced"]);
    expect(await passes(() => true)).toEqual(HOLDS.map((line) => line.replace("silent", "reached")));
  });
});
