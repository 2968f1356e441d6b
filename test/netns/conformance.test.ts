// Conformance cases over real sockets, and what engines leave behind: nothing. Every case of our own runs with
// `weir test --engine live test/cases`; here are those that change most.

import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { preflightOf } from "../../src/engines/engine-preflight.ts";
import { benchDirectory, devicePrefix, removeLeftovers } from "../../src/engines/kernel-engine.ts";
import { openSession, type Session } from "../../src/engines/open-engine.ts";
import { ipJson } from "../../src/lab/iproute.ts";
import { type CaseResult, failureText, runCase } from "../../src/source/conformance/case-runner.ts";
import { caseOf, ownCases } from "../support/cases.ts";
import { OBJECT } from "../support/object.ts";

const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const BPFFS = "/sys/fs/bpf";
const OPTIONS = { object: OBJECT, bpffs: BPFFS };

const HEAD = `
format: np-conformance/1
source: {project: weir, licence: Apache-2.0, truth: what Weir promises of connections that exist}
features: [ingress]
cluster:
  ipFamily: IPv4
  namespaces: [{name: shop, labels: {}}]
  nodes: [{name: n1, labels: {}, ips: [192.168.7.1]}]
  pods:
    - {namespace: shop, name: server, labels: {}, ips: [10.244.1.10], ports: []}
    - {namespace: shop, name: client, labels: {}, ips: [10.244.1.11], ports: []}
`;

/** A connection that a policy blocks and that continues after the end of the policy; a node and its own pod. */
const CONNECTION = `${HEAD}
id: test/connection
name: a connection through changes of policy
steps:
  - actions: []
    probe: {mode: pod-ip}
    expected:
      checks:
        - {from: shop/client, to: shop/server, protocol: TCP, port: 80, verdict: allowed, connection: "open:c1"}
        - {from: shop/client, to: shop/server, protocol: TCP, port: 80, verdict: allowed, connection: "reuse:c1"}
  - actions:
      - type: createPolicy
        object:
          apiVersion: networking.k8s.io/v1
          kind: NetworkPolicy
          metadata: {name: deny, namespace: shop}
          spec: {podSelector: {}, policyTypes: [Ingress]}
    probe: {mode: pod-ip}
    expected:
      checks:
        - {from: shop/client, to: shop/server, protocol: TCP, port: 80, verdict: blocked, connection: "reuse:c1"}
        - {from: "node:n1", to: shop/server, protocol: TCP, port: 80, verdict: allowed, evaluator: skip}
        - {from: "node:n1", to: shop/server, protocol: TCP, port: 80, verdict: blocked}
  - actions: [{type: deletePolicy, kind: NetworkPolicy, namespace: shop, name: deny}]
    probe: {mode: pod-ip}
    expected:
      checks:
        - {from: shop/client, to: shop/server, protocol: TCP, port: 80, verdict: allowed, connection: "reuse:c1"}
`;

/** Wrong in every cell but the last. */
const WRONG = `${HEAD}
id: test/wrong
name: what is not so
steps:
  - actions:
      - type: createPolicy
        object:
          apiVersion: networking.k8s.io/v1
          kind: NetworkPolicy
          metadata: {name: deny, namespace: shop}
          spec: {podSelector: {}, ingress: [{ports: [{port: 81}]}]}
    probe: {mode: pod-ip}
    expected:
      checks:
        - {from: shop/client, to: shop/server, protocol: TCP, port: 80, verdict: allowed}
        - {from: shop/client, to: shop/server, protocol: TCP, port: 81, verdict: blocked}
        - {from: shop/client, to: shop/server, protocol: UDP, port: 80, verdict: allowed}
        - {from: shop/client, to: shop/server, protocol: ICMP, port: 0, verdict: allowed}
        - {from: shop/server, to: shop/client, protocol: TCP, port: 81, verdict: allowed}
`;

/** This many pods, each of which connects to itself. */
function large(size: number): string {
  const numbers = Array.from({ length: size }, (_, number) => number);
  const pods = numbers.map(
    (n) => `    - {namespace: shop, name: p${n}, labels: {}, ips: [10.9.0.${n}], ports: []}`,
  );
  const checks = numbers.map(
    (n) => `{from: shop/p${n}, to: shop/p${n}, protocol: TCP, port: 80, verdict: allowed}`,
  );
  return `${HEAD}${pods.join("\n")}
id: test/large
name: many pods
steps: [{actions: [], probe: {mode: pod-ip}, expected: {checks: [${checks.join(", ")}]}}]
`;
}

const run = (text: string, session: Session): Promise<CaseResult> =>
  runCase(caseOf({ name: "test.yaml", text }), session.engine());

describe("over real sockets", () => {
  let live: Session;
  beforeAll(async () => {
    live = await openSession("live", OPTIONS);
  });
  afterAll(() => live?.close());

  it.each([
    ["icmp", "no SCTP sockets in Node.js"],
    ["both-ends", "sockets see both ends together, not one alone"],
    ["host-network", undefined],
    ["address-reused", undefined],
  ])("%s is as expected", async (name, beyond) => {
    const file = ownCases().find((each) => each.name === `${name}.yaml`);
    const result = await run(file?.text ?? "", live);
    expect(failureText(result, 9)).toBe("");
    expect(result.agreed).toBeGreaterThan(10);
    expect(result.unableBecause).toEqual(beyond === undefined ? [] : [beyond]);
  });

  it("mismatches are reported, with what the sockets saw and what the API requires", async () => {
    const { agreed, mismatches } = await run(WRONG, live);
    expect(agreed).toBe(1);
    expect(mismatches.map(({ judgement }) => judgement.outcome)).toEqual([
      "blocked",
      "allowed",
      "blocked",
      "blocked",
    ]);
    const [first, second] = mismatches.map(({ judgement }) => judgement.why().split("\n"));
    expect(first).toEqual([
      "no answer",
      "by the API, egress of shop/client is not isolated",
      "by the API, ingress of shop/server is isolated by shop/deny, nothing allows TCP/80 from shop/client",
    ]);
    expect(second?.[0]).toMatch(/^answered after [\d.]+ ms$/);
    expect(second?.[2]).toContain("is allowed by shop/deny ingress[0].ports[0]");
  });

  it("connections of a case persist from step to step", async () => {
    expect(await run(CONNECTION, live)).toMatchObject({ agreed: 6, mismatches: [], unable: 0 });
  });

  it("the machine sees none of it", async () => {
    expect(
      ipJson(["link", "show"])
        .map(({ ifname }) => String(ifname))
        .filter((name) => /^wlive/.test(name)),
    ).toEqual([]);
    expect(
      ipJson(["netns", "list"])
        .map(({ name }) => String(name))
        .filter((name) => /^wlive/.test(name)),
    ).toEqual([]);
    const routes = ipJson(["-4", "route", "show", "table", "all"]).map(({ dst }) => dst);
    expect(routes).not.toContain("10.244.1.10");
  });

  it("a case that cannot be set up is an error, and the next one runs", async () => {
    await expect(run(large(101), live)).rejects.toThrow("it has 101 of them; the limit of live is 100");
    expect(await run(large(2), live)).toMatchObject({ agreed: 2, mismatches: [] });
  });
});

describe("over real sockets, where the kernel's conntrack sees the node's packets", () => {
  const TABLE = "weir_tracked";
  let live: Session;
  /** In the network namespace of the world, which a child of this process holds. */
  let inWorld: (command: string) => string;

  beforeAll(async () => {
    const before = new Set(children());
    live = await openSession("live", OPTIONS);
    const world = children().filter((pid) => !before.has(pid));
    expect(world).toHaveLength(1);
    inWorld = (command) => {
      const args = ["-t", world.join(), "-n", "sh", "-c", command];
      const { status, stdout, stderr } = spawnSync("nsenter", args, { encoding: "utf8" });
      expect({ status, stderr }, command).toEqual({ status: 0, stderr: "" });
      return stdout;
    };
    inWorld(
      `nft 'table inet ${TABLE} { chain seen { type filter hook forward priority 0; ct state established counter; }; }'`,
    );
  });
  afterAll(() => live?.close());

  const children = (): string[] =>
    readdirSync("/proc/self/task")
      .flatMap((task) => readFileSync(`/proc/self/task/${task}/children`, "utf8").trim().split(" "))
      .filter((pid) => pid !== "");

  /** Packets of established connections that conntrack has seen. */
  const seen = (): number =>
    Number(/counter packets (\d+)/.exec(inWorld(`nft list table inet ${TABLE}`))?.[1]);

  it.each(["selector-in", "host-network", "address-reused"])("%s is as expected", async (name) => {
    const before = seen();
    const file = ownCases().find((each) => each.name === `${name}.yaml`);
    const result = await run(file?.text ?? "", live);
    expect(failureText(result, 9)).toBe("");
    expect(result.agreed).toBeGreaterThan(10);
    expect(seen()).toBeGreaterThan(before);
  });

  it("connections of a case persist from step to step, and are blocked at once", async () => {
    expect(await run(CONNECTION, live)).toMatchObject({ agreed: 6, mismatches: [], unable: 0 });
  });
});

it("in the kernel too, connections of a case persist from step to step", async () => {
  const kernel = await openSession("kernel", OPTIONS);
  try {
    expect(await run(CONNECTION, kernel)).toMatchObject({ agreed: 5, mismatches: [], unable: 1 });
  } finally {
    await kernel.close();
  }
});

describe("what is left of an engine", () => {
  const benches = (pid: number): string[] =>
    readdirSync(BPFFS).filter((name) => name.startsWith(`weir-test-${pid}-`));
  const devices = (pid: number): string[] =>
    ipJson(["link", "show", "type", "veth"])
      .map(({ ifname }) => String(ifname))
      .filter((name) => name.startsWith(`${devicePrefix(pid, 1)}-`));

  /** Resolves when the command has created devices and pins. */
  async function started(child: ChildProcess): Promise<number> {
    const pid = child.pid ?? 0;
    for (let tries = 0; tries < 400; tries += 1) {
      if (benches(pid).length === 1 && devices(pid).length > 0) return pid;
      await sleep(25);
    }
    throw new Error("weir test has not started");
  }

  const ended = (child: ChildProcess): Promise<number | string | null> =>
    new Promise((resolve) => child.once("exit", (code, signal) => resolve(signal ?? code)));

  it.each(["SIGINT", "SIGTERM"] as const)("is nothing after %s", async (signal) => {
    const child = spawn(join(ROOT, "bin/weir"), ["test", join(ROOT, "test/cases")], { stdio: "ignore" });
    const end = ended(child);
    const pid = await started(child);
    child.kill(signal);
    expect(await end).toBe(signal === "SIGINT" ? 130 : 143);
    expect([benches(pid), devices(pid)]).toEqual([[], []]);
  });

  it("after SIGKILL is removed by the next", async () => {
    const child = spawn(join(ROOT, "bin/weir"), ["test", join(ROOT, "test/cases")], { stdio: "ignore" });
    const end = ended(child);
    const pid = await started(child);
    child.kill("SIGKILL");
    expect(await end).toBe("SIGKILL");
    expect(existsSync(join(BPFFS, benchDirectory(pid, 1)))).toBe(true);
    // A running process keeps its own.
    const mine = join(BPFFS, benchDirectory(process.pid, 99));
    mkdirSync(mine);
    try {
      removeLeftovers(BPFFS);
      expect([benches(pid), devices(pid)]).toEqual([[], []]);
      expect(existsSync(mine)).toBe(true);
    } finally {
      rmSync(mine, { recursive: true, force: true });
    }
  });
});

describe("`weir test` as built", () => {
  it.each(["kernel", "live"])("runs on %s", (engine) => {
    const args = ["test", "--engine", engine, "-o", "json", join(ROOT, "test/cases/selector-in.yaml")];
    const { status, stdout, stderr } = spawnSync(join(ROOT, "bin/weir"), args, { encoding: "utf8" });
    expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
    expect(JSON.parse(stdout)).toMatchObject({
      engine,
      cases: 1,
      passed: 64,
      failed: 0,
      open: 0,
      failures: [],
    });
  });

  it("names all missing requirements", () => {
    const lacking = { object: join(tmpdir(), "none.o"), bpffs: tmpdir() };
    expect(preflightOf("kernel", lacking)).toEqual([
      expect.stringMatching(/none\.o is not built \(npm run build\)$/),
      `${tmpdir()} is not on a BPF filesystem; mount one with: mount -t bpf bpf /sys/fs/bpf`,
    ]);
    expect(preflightOf("live", { ...lacking, object: OBJECT })).toEqual([]);
  });
});
