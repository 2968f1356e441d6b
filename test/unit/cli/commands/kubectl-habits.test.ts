// What people who use kubectl type: aliases, names as arguments, selectors, sorting, formats, help, and one exit code for one thing.

import { chmodSync } from "node:fs";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { EndpointView } from "../../../../src/observe/api-views.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld, runIn } from "../world.ts";

const OPEN = { isolatedBy: [], policy: 0 };

const endpoint = (name: string, id: number, labels: Readonly<Record<string, string>>): EndpointView => {
  const [namespace = "", pod = ""] = name.split("/");
  return {
    namespace,
    name: pod,
    labels,
    addresses: [`10.63.48.${id}`, `fd63:48::${id}`],
    state: "enforced",
    id,
    interface: `veth${id}`,
    ifindex: 100 + id,
    ingress: { isolatedBy: [`${namespace}/policy`], policy: 30 - id },
    egress: OPEN,
  };
};

const ENDPOINTS = [
  endpoint("shop/cart", 9, { app: "cart", tier: "back" }),
  endpoint("shop/web", 10, { app: "web", tier: "front" }),
  endpoint("test/web", 11, { app: "web" }),
];

let world: CommandWorld;

beforeEach(async () => {
  world = openCommandWorld();
  await world.serve({ ...viewsWith(), endpoints: () => ENDPOINTS });
});
afterEach(() => world.close());

const weir = (line: string) => world.weir(...line.split(" "));

describe("the pods that are listed by", () => {
  it.each([
    ["get endpoints", "shop/cart shop/web test/web"],
    ["get ep", "shop/cart shop/web test/web"],
    ["get pods -A", "shop/cart shop/web test/web"],
    ["get po --all-namespaces", "shop/cart shop/web test/web"],
    ["get pod shop/web", "shop/web"],
    ["get pods web", "shop/web test/web"],
    ["get pods web -n test", "test/web"],
    ["get ep -n shop", "shop/cart shop/web"],
    ["get ep -l app=web", "shop/web test/web"],
    ["get ep -l app==web,tier", "shop/web"],
    ["get ep -l app!=web", "shop/cart"],
    ["get ep -l !tier", "test/web"],
    ["get ep --selector tier!=front", "shop/cart test/web"],
    ["get ep --sort-by ingress.policy", "test/web shop/web shop/cart"],
    ["get ep --sort-by {.id}", "shop/cart shop/web test/web"],
    ["get ep --sort-by=.name -n shop", "shop/cart shop/web"],
  ])("weir %s are %s", async (line, names) => {
    const { exitCode, stdout, stderr } = await weir(`${line} -o name`);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout.trim().split("\n").join(" ")).toBe(names);
  });

  it.each([
    [["get", "ep", "-l", "app in (web, cart),tier notin (back)"], "shop/web test/web"],
    [["get", "ep", "-l", "app in (cart)"], "shop/cart"],
  ])("weir %j are %s", async (words, names) => {
    const { stdout } = await world.weir(...words, "-o", "name");
    expect(stdout.trim().split("\n").join(" ")).toBe(names);
  });
});

describe("refused", () => {
  it.each([
    ["get pods absent", 4, "no pod absent on this node"],
    ["get pods shop/absent", 4, "no pod shop/absent on this node"],
    ["get netpol alpha/acess-nginx", 4, "no policy alpha/acess-nginx; did you mean alpha/access-nginx?"],
    ["get pods shop/web -n test", 2, "shop/web is not of namespace test"],
    ["get pods a/b/c", 2, "a/b/c is not NAMESPACE/NAME"],
    ["get pods web --pod shop/web", 2, "a name and --pod exclude each other"],
    ["get pods -A -n shop", 2, /cannot be used with option '-n/],
    ["get pods -l a=b=c", 2, /"a=b=c" is none of KEY=VALUE, /],
    [
      "get pods --sort-by nonsense",
      2,
      "--sort-by: no field nonsense; there are namespace, name, labels, addresses, state, id, interface, ifindex, ingress, egress",
    ],
    ["help nonsense", 2, "no command nonsense"],
    ["help get nonsense", 2, "no command nonsense"],
    ["get help endpoint-s", 2, /^no command get endpoint-s; did you mean endpoints\?$/],
    ["trace --from a/b --to c/d --protocol quic", 2, /Allowed choices are TCP, UDP, SCTP, ICMP/],
  ])("weir %s: %i, %s", async (line, exitCode, reason) => {
    const outcome = await weir(line);
    expect({ exitCode: outcome.exitCode, stdout: outcome.stdout }).toEqual({ exitCode, stdout: "" });
    expect(outcome.stderr.replace(/^weir: (.*)\n$/, "$1")).toEqual(
      typeof reason === "string" ? reason : expect.stringMatching(reason),
    );
  });
});

describe("help", () => {
  it.each(["help get", "help get endpoints", "get help pods", "help trace"])(
    "weir %s succeeds",
    async (line) => {
      const { exitCode, stdout } = await runIn(line.split(" "));
      expect(exitCode).toBe(0);
      expect(stdout).toMatch(/^Usage: weir \w+/);
    },
  );

  it("--version is the version of this command", async () => {
    const { exitCode, stdout } = await runIn(["--version"]);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  });
});

describe("-o yaml has what -o json has", () => {
  it.each([
    "status",
    "status --brief",
    "version",
    "get endpoints",
    "get policies",
    "describe pod alpha/nginx",
    "describe netpol alpha/access-nginx",
    "trace --from beta/friend --to alpha/nginx --port 80 --protocol tcp --no-kernel",
    "lint -f test/fixtures/shop/cluster",
    "test --engine plan test/cases/icmp.yaml",
    "cni status --conf-dir /tmp --bin-dir /tmp",
  ])("weir %s", async (line) => {
    const [yaml, json] = [await weir(`${line} -o yaml`), await weir(`${line} -o json`)];
    expect({ ...yaml, stdout: parse(yaml.stdout) }).toEqual({ ...json, stdout: JSON.parse(json.stdout) });
  });
});

describe("a table", () => {
  const long = "x".repeat(40);
  const WIDE = [endpoint(`${long}/${long}`, 12, {})];
  const heading = (text: string) => text.split("\n")[0]?.split(/ +/).join(" ");

  it("leaves out columns where it is too wide, and none for programs or with -o wide", async () => {
    await world.close();
    world = openCommandWorld();
    await world.serve({ ...viewsWith(), endpoints: () => WIDE });
    expect(heading((await weir("get ep")).stdout)).toBe("NAMESPACE POD INGRESS EGRESS STATE");
    expect(heading((await weir("get ep -o wide")).stdout)).toMatch(/^NAMESPACE POD INTERFACE ID ADDRESSES /);
    expect((await weir("get ep --no-headers")).stdout.split(/ +/)).toHaveLength(8);
  });

  it("keeps within 100 columns where that suffices", async () => {
    const { stdout } = await weir("get ep");
    expect(heading(stdout)).toMatch(/^NAMESPACE POD INTERFACE /);
    for (const line of stdout.split("\n")) expect(line.length).toBeLessThanOrEqual(100);
  });
});

it("permission denied is an exit code of its own, and not degraded", async ({ skip }) => {
  skip(process.getuid?.() !== 0, "only root can give up privileges here");
  // connect(2) needs to write to the socket.
  chmodSync(world.socket, 0o000);
  const seteuid = process.seteuid?.bind(process);
  seteuid?.(65_534);
  try {
    for (const line of ["status", "get pods", "monitor"]) {
      const { exitCode, stderr } = await weir(line);
      expect({ exitCode, stderr }).toMatchObject({
        exitCode: 6,
        stderr: expect.stringContaining("permission denied"),
      });
    }
  } finally {
    seteuid?.(0);
  }
});
