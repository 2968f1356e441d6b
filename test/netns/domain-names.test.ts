// Rules by domain names with a resolver, clients and servers that are real: the first connection after the answer, without an agent, and
// after its restart.

import { execFile } from "node:child_process";
import { writeFileSync } from "node:fs";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import type { Probe } from "../../src/lab/pod-protocol.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { openWorld, type World } from "./world.ts";

const run = promisify(execFile);

const PREFIX = "wt-names";
const CLIENT = "shop/client";
const FAMILIES = [
  { family: 4, resolver: "10.63.64.53", www: "198.51.100.64", other: "198.51.100.65" },
  { family: 6, resolver: "fd63:64::53", www: "fd63:113::64", other: "fd63:113::65" },
] as const;
const BOTH = (key: "resolver" | "www" | "other") => FAMILIES.map((each) => each[key]);

/** Names of the zone that the rule has: each is asked for once. */
const MANY = Array.from({ length: 40 }, (_, index) => `n${index}.cdn.example.net`);

/** Names with an address of each family of their own. */
const hostsOf = (prefix: string, count: number, first: number) =>
  Array.from({ length: count }, (_, index) => ({
    name: `${prefix}${index}.cdn.example.net`,
    addresses: { 4: `198.51.101.${first + index}`, 6: `fd63:114::${first + index}` },
  }));
/** Asked for over TCP at once; over UDP first, with an answer that is truncated; by glibc. */
const OVER_TCP = hostsOf("t", 100, 1);
const TRUNCATED = hostsOf("l", 10, 101);
const BY_GLIBC = hostsOf("g", 10, 111);
const ALL_OVER_TCP = [...OVER_TCP, ...TRUNCATED, ...BY_GLIBC];
/** So many that an answer with them has several segments. */
const OTHERS = Array.from({ length: 120 }, (_, index) => [
  `192.0.2.${index}`,
  `2001:db8::${index + 1}`,
]).flat();

const MANIFESTS = `
apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: names }
spec:
  tier: Admin
  priority: 10
  subject: { namespaces: {} }
  egress:
  - name: dns
    action: Accept
    to: [{ networks: [10.63.64.53/32, "fd63:64::53/128"] }]
    protocols:
    - { udp: { destinationPort: { number: 53 } } }
    - { tcp: { destinationPort: { number: 53 } } }
  - name: web
    action: Accept
    to: [{ domainNames: [www.example.com, "*.cdn.example.net"] }]
    protocols: [{ tcp: { destinationPort: { number: 80 } } }]
  - { name: nothing-else, action: Deny, to: [{ networks: ["0.0.0.0/0", "::/0"] }] }
`;

/** A Service whose address a name has, with the web server behind it. */
const FRONTEND = "10.96.64.1";
const SERVICE = `
apiVersion: v1
kind: Service
metadata: { name: front, namespace: shop }
spec: { clusterIP: ${FRONTEND}, ports: [{ port: 8000, targetPort: 80 }, { name: other, port: 8001, targetPort: 81 }] }
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: { name: front-a, namespace: shop, labels: { kubernetes.io/service-name: front } }
addressType: IPv4
ports: [{ name: "", port: 80, protocol: TCP }, { name: other, port: 81, protocol: TCP }]
endpoints: [{ addresses: [198.51.100.64] }]
`;

let world: World;
let agent: Agent;

beforeAll(async () => {
  world = await openWorld({
    prefix: PREFIX,
    namespaces: { shop: {} },
    pods: [{ name: CLIENT, labels: {}, addresses: ["10.63.64.1", "fd63:64::1"] }],
    machines: [
      {
        name: "resolver",
        addresses: BOTH("resolver"),
        dns: {
          "www.example.com": BOTH("www"),
          "other.example.com": BOTH("other"),
          "front.cdn.example.net": [FRONTEND],
          ...Object.fromEntries(
            MANY.map((name, at) => [name, [`198.51.100.${100 + at}`, `fd63:113::${100 + at}`]]),
          ),
          ...Object.fromEntries(
            ALL_OVER_TCP.map((host) => [
              host.name,
              [...Object.values(host.addresses), ...(TRUNCATED.includes(host) ? OTHERS : [])],
            ]),
          ),
        },
      },
      { name: "www", addresses: BOTH("www"), tcp: [80, 81] },
      { name: "other", addresses: BOTH("other"), tcp: [80] },
      {
        name: "many",
        addresses: [
          ...MANY.flatMap((_, at) => [`198.51.100.${100 + at}`, `fd63:113::${100 + at}`]),
          ...ALL_OVER_TCP.flatMap(({ addresses }) => Object.values(addresses)),
        ],
        tcp: [80],
      },
    ],
    files: { "names.yaml": MANIFESTS, "service.yaml": SERVICE },
  });
  agent = await world.start();
});

afterAll(() => world?.close());

const SILENT_MS = 700;
const reach = async (address: string, more: Partial<Probe> = {}): Promise<string> =>
  (await world.lab.probe(CLIENT, { kind: "tcp", address, port: 80, timeoutMs: 20_000, ...more })).result;

it.each(FAMILIES)(
  "over IPv$family: nothing by address alone, and the rule's ports once the name is resolved",
  async (a) => {
    expect(await reach(a.www, { timeoutMs: SILENT_MS })).toBe("silent");
    const lookup = { name: "www.example.com", resolver: a.resolver };
    expect(await reach(a.www, { lookup })).toBe("reached");
    expect(await reach(a.www)).toBe("reached");
    expect(await reach(a.www, { port: 81, timeoutMs: SILENT_MS })).toBe("silent");
    const other = { name: "other.example.com", resolver: a.resolver };
    expect(await reach(a.other, { lookup: other, timeoutMs: SILENT_MS })).toBe("silent");
  },
);

/** A SYN that is dropped is sent again after a second: what is faster was not dropped. */
const FIRST_MS_MAX = 1_000;

async function reachAtOnce(address: string, lookup: NonNullable<Probe["lookup"]>): Promise<void> {
  const outcome = await world.lab.probe(CLIENT, {
    ...{ kind: "tcp", address, port: 80, timeoutMs: 20_000 },
    lookup,
  });
  expect(outcome, lookup.name).toMatchObject({ result: "reached" });
  if (outcome.result === "reached") expect(outcome.afterMs, lookup.name).toBeLessThan(FIRST_MS_MAX);
}

it("the first connection after the answer works, of every name, also without an agent", async () => {
  await agent.kill();
  for (const { family, resolver } of FAMILIES)
    for (const [at, name] of MANY.entries())
      await reachAtOnce(family === 4 ? `198.51.100.${100 + at}` : `fd63:113::${100 + at}`, {
        name,
        resolver,
      });
});

it("what is known stays known after a restart, and is shown", async () => {
  agent = await world.start();
  for (const { www } of FAMILIES) expect(await reach(www)).toBe("reached");
  const names = JSON.parse((await world.weir("maps", "dump", "names", "-o", "json")).stdout) as {
    readonly pod: string;
    readonly name: string;
    readonly address: string;
  }[];
  expect(new Set(names.map(({ pod }) => pod))).toEqual(new Set([CLIENT]));
  expect(
    names
      .filter(({ name }) => name === "www.example.com")
      .map(({ address }) => address)
      .sort(),
  ).toEqual(BOTH("www").toSorted());
  expect(names.filter(({ name }) => name === "*.cdn.example.net")).toHaveLength(2 * MANY.length);
  const { stdout, status } = await world.weir(
    "trace",
    "--from",
    CLIENT,
    "--to",
    "198.51.100.64",
    "--port",
    "80",
  );
  expect(stdout).toContain(
    'accepted by names (Admin, priority 10) egress[1] "web", by the name www.example.com',
  );
  expect(status).toBe(0);
  const unknown = await world.weir("trace", "--from", CLIENT, "--to", "198.51.100.65", "--port", "80");
  expect(unknown.stdout).toContain('denied by names (Admin, priority 10) egress[2] "nothing-else"');
  expect(unknown.status).toBe(3);
  const supposed = await world.weir(
    ...["trace", "--from", CLIENT, "--to", "198.51.100.65", "--port", "80", "--name", "a.cdn.example.net"],
  );
  expect(supposed.status).toBe(0);
});

describe("over TCP the first connection after the answer works, too", () => {
  const silentAtFirst = async ({ addresses }: (typeof OVER_TCP)[number]) => {
    for (const address of Object.values(addresses))
      expect(await reach(address, { timeoutMs: SILENT_MS })).toBe("silent");
  };

  it("200 times, across a restart of the agent", async () => {
    await silentAtFirst(present(OVER_TCP[0], "a name"));
    for (const [at, { name, addresses }] of OVER_TCP.entries()) {
      if (at === 30) await agent.kill();
      if (at === 60) agent = await world.start();
      for (const { family, resolver } of FAMILIES)
        await reachAtOnce(addresses[family], { name, resolver, tcp: true });
    }
  });

  it("if an answer over UDP is truncated", async () => {
    await silentAtFirst(present(TRUNCATED[0], "a name"));
    for (const { name, addresses } of TRUNCATED)
      for (const { family, resolver } of FAMILIES) await reachAtOnce(addresses[family], { name, resolver });
  });

  it.each(FAMILIES)("with glibc and use-vc, which asks for both families at once: IPv$family", async (a) => {
    const { netns } = world.lab.wire(CLIENT);
    const hosts = BY_GLIBC.filter((_, at) => (at % 2 === 0) === (a.family === 4));
    await silentAtFirst(present(hosts[0], "a name"));
    const file = `/run/${PREFIX}/resolv${a.family}.conf`;
    writeFileSync(file, `nameserver ${a.resolver}\n`);
    for (const { name, addresses } of hosts) {
      const { stdout } = await run("ip", [
        ...["netns", "exec", netns, "sh", "-c"],
        'mount --bind "$1" /etc/resolv.conf && RES_OPTIONS=use-vc getent ahosts "$2"',
        ...["sh", file, name],
      ]);
      for (const address of Object.values(addresses)) {
        expect(stdout).toContain(address);
        expect(await reach(address)).toBe("reached");
      }
    }
  });
});

it("a trace to a Service's address uses the names that the pod has resolved to it, as the kernel does", async () => {
  const traced = async (port: string) => {
    const { stdout, status } = await world.weir("trace", "--from", CLIENT, "--to", FRONTEND, "--port", port);
    return { text: stdout, status };
  };
  expect(await traced("8000")).toMatchObject({ status: 3 });
  // Nothing is behind the address in this lab; what matters is the answer.
  await reach(FRONTEND, {
    ...{ port: 8000, timeoutMs: SILENT_MS },
    lookup: { name: "front.cdn.example.net", resolver: "10.63.64.53" },
  });
  const { text, status } = await traced("8000");
  expect(text).toContain('egress[1] "web", by the name *.cdn.example.net');
  expect(status).toBe(0);
  // The rule is about the ports of the backends.
  expect((await traced("8001")).status).toBe(3);
});

it("connections go on when the name expires, and end with the rule", async () => {
  const [{ www, resolver }] = FAMILIES;
  const lookup = { name: "www.example.com", resolver };
  expect(await reach(www, { lookup })).toBe("reached");
  const flow = await world.lab.open(CLIENT, { kind: "tcp", address: www, port: 80, timeoutMs: 20_000 });
  if (typeof flow !== "number") throw new Error(`the connection failed: ${JSON.stringify(flow)}`);
  await agent.change(() => world.manifests.put("names.yaml", MANIFESTS.replace("number: 80", "number: 81")));
  expect((await world.lab.say(CLIENT, flow, SILENT_MS)).result).toBe("silent");
});
