// Tracing on plain data: ends and ports as users write them, runs of ports, and the nearest rule.

import { describe, expect, it } from "vitest";
import { EVERY_PORT, endOf, type Found, portsOf } from "../../../../src/policy/trace/traced-ends.ts";
import { type Path, pathsOf, routesOf } from "../../../../src/policy/trace/traced-paths.ts";
import {
  block,
  cluster,
  namespace,
  outside,
  party,
  pod,
  pods,
  policy,
  ports,
  selector,
} from "../../../support/model.ts";

const WEB = pod("shop/web", ["10.0.0.1", "fd00::1"], {
  labels: { app: "web" },
  ports: [
    { name: "http", port: 8080, protocol: "TCP" },
    { name: "http", port: 8081, protocol: "TCP" },
    { name: "http", port: 53, protocol: "UDP" },
  ],
});
const CLIENT = pod("jobs/client", ["10.0.0.2", "fd00::2"], { labels: { app: "client" } });
const HOST = pod("jobs/host", ["10.0.0.9"], { hostNetwork: true, labels: { app: "client" } });
const NEW = pod("shop/new", []);

const worldWith = (...policies: ReturnType<typeof policy>[]) =>
  cluster({
    namespaces: [namespace("shop"), namespace("jobs", { team: "data" })],
    pods: [WEB, CLIENT, HOST, NEW],
    policies,
  });

function value<T>(found: Found<T>): T {
  if (!found.ok) throw new Error(found.reason);
  return found.value;
}
const refusal = <T>(found: Found<T>) => (found.ok ? "found" : found);

type World = ReturnType<typeof worldWith>;

function trace(world: World, [from, to]: readonly [string, string], port?: string): readonly Path[] {
  const routes = routesOf(value(endOf(world, from)), value(endOf(world, to)));
  return routes.flatMap((route) => {
    const ranges = port === undefined ? [EVERY_PORT] : value(portsOf(port, "TCP", route.to));
    return pathsOf({ cluster: world, before: undefined }, route, { protocol: "TCP", ranges });
  });
}

describe("an end", () => {
  const world = worldWith();
  it("is a pod by all its addresses, or by the one that is named", () => {
    const addresses = (text: string) => value(endOf(world, text)).parties.map(({ address }) => address.text);
    expect(addresses("shop/web")).toEqual(["10.0.0.1", "fd00::1"]);
    expect(value(endOf(world, "fd00:0::2")).parties).toEqual([party(CLIENT, 6)]);
    expect(value(endOf(world, "10.0.0.9")).parties).toEqual([outside("10.0.0.9")]);
  });

  it.each([
    ["shop/wbe", { reason: "no pod or Service shop/wbe; did you mean shop/web?", missing: true }],
    ["shop/new", { reason: "pod shop/new has no address yet", missing: false }],
    ["web", { reason: '"web" is neither NAMESPACE/NAME nor an address: not an IP address', missing: false }],
  ])("%s is invalid", (text, expected) => {
    expect(refusal(endOf(world, text))).toEqual({ ok: false, ...expected });
  });

  it("meets the other in every family that both have", () => {
    const routes = (from: string, to: string) =>
      routesOf(value(endOf(world, from)), value(endOf(world, to))).map((route) => [
        route.from.address.text,
        route.to.address.text,
      ]);
    expect(routes("shop/web", "jobs/client")).toEqual([
      ["10.0.0.1", "10.0.0.2"],
      ["fd00::1", "fd00::2"],
    ]);
    expect(routes("192.0.2.1", "jobs/client")).toEqual([["192.0.2.1", "10.0.0.2"]]);
    expect(routes("192.0.2.1", "fd00::2")).toEqual([]);
  });
});

describe("a port", () => {
  it.each([
    ["80", [{ first: 80, last: 80 }]],
    ["0-65535", [EVERY_PORT]],
    [
      "http",
      [
        { first: 8080, last: 8080 },
        { first: 8081, last: 8081 },
      ],
    ],
  ])("is %s", (text, expected) => {
    expect(value(portsOf(text, "TCP", party(WEB)))).toEqual(expected);
  });

  it.each([
    ["65536", "port 65536 is beyond 65535"],
    ["90-80", "ports 90-80 end before they begin"],
    ["80-", '"80-" is neither a port, a range (8000-8080), nor a port\'s name'],
    ["sql", "pod shop/web declares no TCP port called sql"],
  ])("is not %s", (text, reason) => {
    expect(refusal(portsOf(text, "TCP", party(WEB)))).toMatchObject({ reason });
  });

  it("has a name on pods alone", () => {
    expect(refusal(portsOf("http", "TCP", outside("192.0.2.1")))).toMatchObject({
      reason: "port http: an address that is no pod's has no named ports",
    });
  });
});

describe("every port", () => {
  it("is grouped in runs with the same verdict", () => {
    const world = worldWith(
      policy("shop/p", {
        subject: selector({ app: "web" }),
        ingress: [
          { peers: "anyone", ports: ports("TCP/http", "TCP/9000-9010", "UDP/1-5") },
          { peers: [pods({ app: "client" }, selector({}))], ports: ports("TCP/9005-9020") },
        ],
      }),
    );
    const runs = trace(world, ["10.0.0.2", "10.0.0.1"]).map(({ ports: run, sides }) => {
      const { verdict } = sides.ingress;
      const by = verdict.kind === "allowed" ? verdict.by.map(({ rule, port }) => `${rule}.${port}`) : [];
      return [`${run?.first}-${run?.last}`, ...by];
    });
    expect(runs).toEqual([
      ["0-8079"],
      ["8080-8081", "0.0"],
      ["8082-8999"],
      ["9000-9004", "0.1"],
      ["9005-9010", "0.1", "1.0"],
      ["9011-9020", "1.0"],
      ["9021-65535"],
    ]);
  });

  it("is also split at the bounds of the previous verdicts", () => {
    const open = (text: string) =>
      worldWith(policy("shop/p", { ingress: [{ peers: "anyone", ports: ports(text) }] }));
    const [route] = routesOf(
      value(endOf(open("TCP/1"), "10.0.0.2")),
      value(endOf(open("TCP/1"), "10.0.0.1")),
    );
    if (route === undefined) throw new Error("no route");
    const worlds = { cluster: open("TCP/20-30"), before: open("TCP/25-40") };
    const traffic = { protocol: "TCP", ranges: [{ first: 20, last: 50 }] } as const;
    expect(
      pathsOf(worlds, route, traffic).map(({ ports: run, allowed, before }) => [
        run?.first,
        run?.last,
        before,
        allowed,
      ]),
    ).toEqual([
      [20, 24, false, true],
      [25, 30, true, true],
      [31, 40, true, false],
      [41, 50, false, false],
    ]);
  });
});

describe("the nearest rule", () => {
  const nearest = (world: World, from = "jobs/client", port = "80") =>
    trace(world, [from, "10.0.0.1"], port)[0]?.sides.ingress.nearest;

  it.each([
    {
      what: "a port that is not among them",
      rule: {
        peers: "anyone",
        ports: ports("TCP/443", "TCP/8000-8010", "UDP", "TCP/http", "TCP/sql"),
      } as const,
      wants: [
        "port TCP/443 or TCP/8000-8010 or UDP/* or TCP/http (on shop/web: 8080, 8081) or TCP/sql (on shop/web: which it does not declare)",
      ],
    },
    {
      what: "a label of the pod",
      rule: {
        peers: [pods({ app: "web", tier: "front" }, selector({ team: "data" }))],
        ports: "all",
      } as const,
      wants: [
        "a pod with app=web (jobs/client has app=client)",
        "a pod with tier=front (jobs/client has no label tier)",
      ],
    },
    {
      what: "a label of its namespace",
      rule: { peers: [pods({ app: "client" }, selector({ team: "ops" }))], ports: "all" } as const,
      wants: ["a namespace with team=ops (namespace jobs has team=data)"],
    },
    {
      what: "another namespace, which the rule does not name",
      rule: { peers: [pods({ app: "client" })], ports: "all" } as const,
      wants: ["a pod of namespace shop (jobs/client is of jobs)"],
    },
    {
      what: "an address",
      rule: { peers: [block("192.0.2.0/24")], ports: "all" } as const,
      wants: ["an address in 192.0.2.0/24 (it is 10.0.0.2)"],
    },
    {
      what: "an exception",
      rule: { peers: [block("10.0.0.0/8", "10.0.0.2/31")], ports: "all" } as const,
      wants: ["an address outside 10.0.0.2/31, which 10.0.0.0/8 excepts (it is 10.0.0.2)"],
    },
    {
      what: "peer and port",
      rule: { peers: [pods({ app: "web" }, selector({}))], ports: ports("UDP/80") } as const,
      wants: ["a pod with app=web (jobs/client has app=client)", "port UDP/80"],
    },
  ])("requires $what", ({ rule, wants }) => {
    expect(nearest(worldWith(policy("shop/p", { ingress: [rule] })))).toMatchObject({
      policy: "shop/p",
      rule: 0,
      wants,
    });
  });

  it("is the one for the port, if the peer is wrong in all", () => {
    const world = worldWith(
      policy("shop/metrics", {
        ingress: [{ peers: [pods({}, selector({ team: "ops" }))], ports: ports("TCP/9090") }],
      }),
      policy("shop/web", { ingress: [{ peers: [pods({ app: "web" })], ports: ports("TCP/80") }] }),
    );
    expect(nearest(world)).toMatchObject({
      policy: "shop/web",
      wants: [
        "a pod of namespace shop (jobs/client is of jobs)",
        "a pod with app=web (jobs/client has app=client)",
      ],
    });
  });

  it("is the one with the fewest mismatches", () => {
    const world = worldWith(
      policy("shop/far", { ingress: [{ peers: [block("192.0.2.0/24")], ports: "all" }] }),
      policy("shop/near", {
        ingress: [
          { peers: [pods({ app: "web" }, selector({}))], ports: ports("TCP/443") },
          {
            peers: [block("192.0.2.0/24"), pods({ app: "client" }, selector({}))],
            ports: ports("TCP/443"),
          },
        ],
      }),
      policy("shop/broken", {
        unreadable: "is not known",
        ingress: [{ peers: "anyone", ports: ports("TCP/81") }],
      }),
    );
    expect(nearest(world)).toEqual({
      policy: "shop/near",
      rule: 1,
      peer: undefined,
      wants: ["port TCP/443"],
    });
  });

  it("cannot require labels of an end that is not a pod", () => {
    const world = worldWith(
      policy("shop/p", { ingress: [{ peers: [pods({ app: "client" }, selector({}))], ports: "all" }] }),
    );
    expect(nearest(world, "192.0.2.1")?.wants).toEqual(["a pod (192.0.2.1 is no pod's address)"]);
    expect(nearest(world, "jobs/host")?.wants).toEqual([
      "a pod (jobs/host is a host-network pod, which no selector matches)",
    ]);
  });

  it("is absent if there is no rule", () => {
    expect(nearest(worldWith(policy("shop/p")))).toBeUndefined();
  });
});
