// Pods wired by CNI plugins and identified by their addresses alone: the real ptp and bridge, both families, several pods, DEL and ADD again.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { PodProcess } from "../../src/lab/pod-process-client.ts";
import type { EndpointView } from "../../src/observe/api-views.ts";
import { type CniWorld, type Json, openCniWorld, probeFrom, type Sandbox } from "./cni-world.ts";

const PORT = 5000;

const POLICY = {
  apiVersion: "networking.k8s.io/v1",
  kind: "NetworkPolicy",
  metadata: { namespace: "alpha", name: "friends" },
  spec: {
    podSelector: { matchLabels: { role: "server" } },
    policyTypes: ["Ingress"],
    ingress: [{ from: [{ podSelector: { matchLabels: { role: "friend" } } }] }],
  },
};

interface Wired {
  readonly sandbox: Sandbox;
  readonly role: string;
  readonly addresses: readonly string[];
  /** The host's end of its veth pair, as the plugin reports it. */
  readonly link: string;
  readonly process: PodProcess;
}

/** A plugin's result about interfaces and addresses. */
interface Result {
  readonly interfaces: readonly { readonly name: string; readonly sandbox?: string }[];
  readonly ips: readonly { readonly address: string }[];
}

const podOf = ({ sandbox: { pod }, role, addresses }: Wired): object => ({
  apiVersion: "v1",
  kind: "Pod",
  metadata: { namespace: "alpha", name: pod.replace("alpha/", ""), labels: { role } },
  status: { podIP: addresses[0], podIPs: addresses.map((ip) => ({ ip })) },
});

describe.each([
  ["ptp", "ptp", 91, {}],
  ["bridge", "bridge", 92, {}],
  ["bridge with hairpin mode", "bridge", 93, { hairpinMode: true }],
  ["bridge with promiscuous mode", "bridge", 94, { promiscMode: true }],
] as const satisfies readonly (readonly [string, "ptp" | "bridge", number, Json])[])(
  "%s",
  (_, network, net, config) => {
    let world: CniWorld;
    const pods = new Map<string, Wired>();
    const at = (role: string): Wired => pods.get(role) as Wired;

    async function wire(role: string): Promise<void> {
      const sandbox = world.sandbox(`alpha/${role}`);
      const { status, output } = await world.network("ADD", sandbox);
      if (status !== 0) throw new Error(`${network}: ${JSON.stringify(output)}`);
      const { interfaces, ips } = output as unknown as Result;
      const link = interfaces.find((each) => !each.sandbox && each.name.startsWith("veth"))?.name ?? "";
      const addresses = ips.map(({ address }) => address.replace(/\/.*/, ""));
      const process = await world.process(sandbox, { addresses, port: PORT });
      pods.set(role, { sandbox, role, addresses, link, process });
    }

    const tell = (): void => world.manifests.put("pods.yaml", [...pods.values()].map(podOf));

    async function untilFound(): Promise<void> {
      const wanted = [...pods.values()].map(({ sandbox, link }) => `${sandbox.pod} ${link} enforced`).sort();
      const deadline = Date.now() + 60_000;
      for (;;) {
        const { stdout } = await world.weir("get", "endpoints", "-o", "json");
        const rows = JSON.parse(stdout) as EndpointView[];
        const found = rows
          .map((each) => `${each.namespace}/${each.name} ${each.interface} ${each.state}`)
          .sort();
        if (JSON.stringify(found) === JSON.stringify(wanted)) return;
        if (Date.now() > deadline) expect(found).toEqual(wanted);
        await new Promise((resolve) => setTimeout(resolve, 50));
      }
    }

    /** Who reaches the server, by each of its addresses. Waits for those that should. */
    async function reached(silent: readonly string[] = ["stranger"]): Promise<string[]> {
      const asked = ["friend", "stranger"].flatMap((role) =>
        at("server").addresses.map(async (address) => {
          const probe = {
            kind: "udp",
            address,
            port: PORT,
            timeoutMs: silent.includes(role) ? 1_000 : 60_000,
          } as const;
          const { result } = await probeFrom(at(role).process, probe);
          return `${role} ${address.includes(":") ? "IPv6" : "IPv4"} ${result}`;
        }),
      );
      return Promise.all(asked);
    }

    const HOLDS = [
      "friend IPv4 reached",
      "friend IPv6 reached",
      "stranger IPv4 silent",
      "stranger IPv6 silent",
    ];

    beforeAll(async () => {
      world = openCniWorld({ prefix: `wt-f${net}`, network, net, config });
      world.manifests.put("cluster.yaml", [
        { apiVersion: "v1", kind: "Namespace", metadata: { name: "alpha" } },
        POLICY,
      ]);
      await world.start();
      for (const role of ["server", "friend", "stranger"]) await wire(role);
    });

    afterAll(() => world?.close());

    it("all of them pass while no source identifies them", async () => {
      expect(await reached([])).toEqual(HOLDS.map((line) => line.replace("silent", "reached")));
    });

    it("each pod's interface is the one that the plugin created for it, and its policy is enforced", async () => {
      tell();
      await untilFound();
      expect(await reached()).toEqual(HOLDS);
    });

    it("a pod that is deleted and recreated is found at its new interface, with its new addresses", async () => {
      const before = at("server");
      expect((await world.network("DEL", before.sandbox)).status).toBe(0);
      before.process.close();
      await wire("server");
      expect(at("server").addresses).not.toEqual(before.addresses);
      tell();
      await untilFound();
      expect(await reached()).toEqual(HOLDS);
    });

    it("one that is gone for a while is no endpoint, and one again when it is back", async () => {
      const before = at("stranger");
      expect((await world.network("DEL", before.sandbox)).status).toBe(0);
      before.process.close();
      pods.delete("stranger");
      tell();
      await untilFound();
      await wire("stranger");
      tell();
      await untilFound();
      expect(await reached()).toEqual(HOLDS);
    });
  },
);
