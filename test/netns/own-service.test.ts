// A pod through its own Service, over rules of nftables as kube-proxy writes them: no policy blocks it from itself, and no other peer gets in by it.

import { existsSync, readFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { DIRECTIONS } from "../../src/base/direction.ts";
import { ipBatch } from "../../src/lab/iproute.ts";
import type { Outcome, Probe } from "../../src/lab/pod-protocol.ts";
import type { Rewrite } from "../../src/lab/service-nat.ts";
import type { EndpointView } from "../../src/observe/api-views.ts";
import { attachToBridge } from "./bridged.ts";
import { growth } from "./counted.ts";
import { openWorld, type World } from "./world.ts";

const WEB = "shop/web";
const PEER = "shop/peer";
const SILENT_MS = 1_000;

const FAMILIES = [
  {
    family: 4,
    web: "10.63.67.1",
    peer: "10.63.67.2",
    own: "10.96.67.1",
    both: "10.96.67.2",
    node: "203.0.113.67",
  },
  {
    family: 6,
    web: "fd63:67::1",
    peer: "fd63:67::2",
    own: "fd96:67::1",
    both: "fd96:67::2",
    node: "fd63:67::ff",
  },
] as const;

/** Behind "own" is web alone, behind "both" the peer too. */
const SERVICES = `
apiVersion: v1
kind: Service
metadata: { name: own, namespace: shop }
spec:
  clusterIPs: ["10.96.67.1", "fd96:67::1"]
  selector: { role: web }
  ports:
  - { name: tcp, port: 80, targetPort: 8080 }
  - { name: udp, port: 80, targetPort: 8080, protocol: UDP }
---
apiVersion: v1
kind: Service
metadata: { name: both, namespace: shop }
spec:
  clusterIPs: ["10.96.67.2", "fd96:67::2"]
  selector: { behind: both }
  ports: [{ port: 80, targetPort: 8080 }]
`;

const isolates = (types: string): string => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: web, namespace: shop }
spec:
  podSelector: { matchLabels: { role: web } }
  policyTypes: [${types}]
`;

const pod = (role: string, number: number) => ({
  name: `shop/${role}`,
  labels: { role, behind: "both" },
  addresses: [`10.63.67.${number}`, `fd63:67::${number}`],
  tcp: [8080],
  udp: [8080],
});

/** `behind`: the current backend of the Service with both; the source is the node's if a pod reaches itself. */
const rewrites = (behind: "web" | "peer", masquerade: boolean): Rewrite[] =>
  FAMILIES.flatMap((of): Rewrite[] => {
    const to = { address: of.web, port: 8080 };
    return [
      { address: of.own, protocol: "tcp", port: 80, to, masquerade },
      { address: of.own, protocol: "udp", port: 80, to, masquerade },
      {
        address: of.both,
        protocol: "tcp",
        port: 80,
        to: { ...to, address: of[behind] },
        masquerade: behind === "web",
      },
    ];
  });

describe.each(["tc", "xdp"] as const)("with %s", (hook) => {
  let world: World;

  beforeAll(async () => {
    world = await openWorld({
      prefix: "wt-own",
      namespaces: { shop: {} },
      pods: [pod("web", 1), pod("peer", 2)],
      files: { "services.yaml": SERVICES, "web.yaml": isolates("Ingress, Egress") },
    });
    const own = FAMILIES.map(({ family, node }) => `addr add ${node}/${family === 4 ? 32 : 128} dev lo`);
    ipBatch(own);
    world.lab.defer(() => ipBatch(own.map((each) => each.replace("addr add", "addr del"))));
    await world.start("--from-pod-hook", hook);
  });

  afterAll(() => world?.close());

  const probe = (
    from: string,
    kind: Probe["kind"],
    address: string,
    more: Partial<Probe> = {},
  ): Promise<Outcome> => world.lab.probe(from, { kind, address, port: 80, timeoutMs: 20_000, ...more });

  describe.each(["Ingress, Egress", "Ingress", "Egress"])("a pod that is isolated for %s", (types) => {
    beforeAll(async () => {
      world.manifests.put("web.yaml", isolates(types));
      await vi.waitFor(
        async () => {
          const { stdout } = await world.weir("get", "endpoints", "-o", "json");
          const views = JSON.parse(stdout) as readonly EndpointView[];
          const isolated = views.find(({ name }) => name === "web");
          const directions = DIRECTIONS.filter((each) => isolated?.[each].isolatedBy.length === 1);
          expect(directions).toEqual(types.toLowerCase().split(", "));
        },
        { timeout: 60_000, interval: 100 },
      );
    });

    it.each(FAMILIES)("reaches itself by its Service, over IPv$family", async ({ own }) => {
      world.lab.rewrite(rewrites("web", true));
      const grown = await growth(world, WEB, ["ingress denied", "egress denied", "ingress own"], async () => {
        expect(await probe(WEB, "tcp", own, { bytes: 400_000 })).toMatchObject({ result: "reached" });
        expect(await probe(WEB, "udp", own)).toMatchObject({ result: "reached" });
        expect(await probe(WEB, "udp", own, { bytes: 4_000 })).toMatchObject({ result: "reached" });
      });
      expect(grown).toMatchObject({ "ingress denied": 0, "egress denied": 0 });
      expect(grown["ingress own"]).toBeGreaterThan(0);
    });

    it.each(FAMILIES)("reaches itself by a Service with others, over IPv$family", async ({ both }) => {
      world.lab.rewrite(rewrites("web", true));
      expect(await probe(WEB, "tcp", both)).toMatchObject({ result: "reached" });
    });

    it.each(FAMILIES)(
      "reaches those others only if its policy allows it, over IPv$family",
      async ({ both }) => {
        world.lab.rewrite(rewrites("peer", true));
        const outcome = await probe(WEB, "tcp", both, {
          timeoutMs: types === "Ingress" ? 20_000 : SILENT_MS,
        });
        expect(outcome).toMatchObject({ result: types === "Ingress" ? "reached" : "silent" });
      },
    );

    it.each(FAMILIES)(
      "lets no one in by it that its policy does not allow, over IPv$family",
      async ({ own, web }) => {
        const isOpen = types === "Egress";
        const more = { timeoutMs: isOpen ? 20_000 : SILENT_MS };
        for (const masquerade of [true, false]) {
          world.lab.rewrite(rewrites("web", masquerade));
          for (const kind of ["tcp", "udp"] as const) {
            expect(await probe(PEER, kind, own, more)).toMatchObject({
              result: isOpen ? "reached" : "silent",
            });
          }
        }
        expect(await probe(PEER, "tcp", web, { ...more, port: 8080 })).toMatchObject({
          result: isOpen ? "reached" : "silent",
        });
      },
    );
  });
});

/** Where bridges pass frames to the rules of IPv4 and IPv6, as Kubernetes requires. */
const CALLS = ["iptables", "ip6tables"].map((each) => `/proc/sys/net/bridge/bridge-nf-call-${each}`);
const filtersBridges = (): boolean =>
  CALLS.every((path) => existsSync(path) && readFileSync(path, "utf8").trim() === "1");

describe("on a bridge with ports in hairpin mode", () => {
  let world: World;

  beforeAll(async () => {
    world = await openWorld({
      prefix: "wt-own",
      namespaces: { shop: {} },
      pods: [pod("web", 1), pod("peer", 2)],
      files: { "services.yaml": SERVICES, "web.yaml": isolates("Ingress, Egress") },
    });
    attachToBridge(world.lab, {
      bridge: "wt-own-br",
      names: [WEB, PEER],
      gateways: [
        "169.254.1.1/32",
        "fe80::1/64",
        ...FAMILIES.map(({ family, node }) => `${node}/${family === 4 ? 32 : 128}`),
      ],
      routes: true,
      hairpin: true,
    });
    await world.start();
  });

  afterAll(() => world?.close());

  it.for(FAMILIES)(
    "a pod reaches itself by its Service, and no other pod does, over IPv$family",
    async ({ own }, context) => {
      context.skip(
        !filtersBridges(),
        "bridges do not hand frames to nftables here: br_netfilter is not loaded",
      );
      world.lab.rewrite(rewrites("web", true));
      const probe = (from: string, timeoutMs: number): Promise<Outcome> =>
        world.lab.probe(from, { kind: "tcp", address: own, port: 80, timeoutMs });
      const grown = await growth(world, WEB, ["ingress own"], async () => {
        expect(await probe(WEB, 20_000)).toMatchObject({ result: "reached" });
      });
      expect(grown["ingress own"]).toBeGreaterThan(0);
      expect(await probe(PEER, SILENT_MS)).toMatchObject({ result: "silent" });
    },
  );
});
