// The lab itself, without Weir: everyone reaches everyone, dropped packets look silent, and nothing of it outlives its process.

import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { measureExpected } from "../../src/lab/measure-reachability.ts";
import { type Lab, NODE, openLab } from "../../src/lab/netns-lab.ts";
import { mismatchesOf } from "./reach.ts";

const CHILD = fileURLToPath(new URL("lab-child.ts", import.meta.url));

/** A filter of one classic BPF instruction: return TC_ACT_SHOT. Needs no classifier that a small kernel may lack. */
const DROP_ALL = ["bpf", "da", "bytecode", "1,6 0 0 2"] as const;

function run(command: string, ...args: string[]): string {
  const done = spawnSync(command, args, { encoding: "utf8" });
  if (done.status !== 0) throw new Error(`${command} ${args.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

/** Every link, namespace and route of the machine that belongs to labs of this prefix or these addresses. */
function traces(prefix: string, address: string): string[] {
  const lists = [["link"], ["netns", "list"], ["route", "show", "table", "all"]].map((args) =>
    run("ip", ...args),
  );
  return lists.flatMap((text) =>
    text.split("\n").filter((line) => line.includes(`${prefix}-`) || line.includes(address)),
  );
}

describe("an open lab", () => {
  let lab: Lab;

  beforeAll(async () => {
    lab = await openLab({
      prefix: "wt-lab",
      endpoints: [
        { name: "ns/one", addresses: ["10.63.62.1", "fd63:62::1"], http: [80], tcp: [81], udp: [53] },
        { name: "ns/two", addresses: ["10.63.62.2", "10.63.62.3", "fd63:62::2"], tcp: [81], udp: [53] },
      ],
    });
  });

  afterAll(() => lab?.close());

  const dropped = (name: string, work: () => Promise<void>): Promise<void> => {
    const { link } = lab.wire(name);
    run("tc", "qdisc", "add", "dev", link, "clsact");
    run("tc", "filter", "add", "dev", link, "egress", ...DROP_ALL);
    return work().finally(() => run("tc", "qdisc", "del", "dev", link, "clsact"));
  };

  it("carries HTTP, TCP, UDP and ICMP of both families between endpoints, and from the node", async () => {
    const table = `
      ns/one -> ns/two tcp/81 udp/53 icmp : 46
      ns/two -> ns/one http/80 tcp/81 udp/53 icmp : 46
      ns/two@10.63.62.3 -> ns/one tcp/81 udp/53 icmp : 46
      ns/one -> ns/two@10.63.62.3 tcp/81 udp/53 icmp : 46
      node   -> ns/two tcp/81 udp/53 icmp : 46`;
    expect(await mismatchesOf(lab, table)).toEqual([]);
  });

  it("names the web server that answered", async () => {
    const probe = { kind: "http", address: "10.63.62.1", port: 80, timeoutMs: 20_000 } as const;
    expect(await lab.probe("ns/two", probe)).toMatchObject({ result: "reached", text: "ns/one" });
    expect(await lab.probe(NODE, probe)).toMatchObject({ result: "reached", text: "ns/one" });
  });

  it("distinguishes a refusal from silence", async () => {
    for (const kind of ["tcp", "udp"] as const) {
      const outcome = await lab.probe("ns/one", { kind, address: "10.63.62.2", port: 9, timeoutMs: 20_000 });
      expect(outcome).toEqual({ result: "failed", reason: "ECONNREFUSED" });
    }
    await dropped("ns/two", async () => {
      for (const kind of ["tcp", "udp", "icmp"] as const) {
        const outcome = await lab.probe("ns/one", { kind, address: "fd63:62::2", port: 81, timeoutMs: 200 });
        expect(outcome).toEqual({ result: "silent" });
      }
    });
  });

  it("reports what is not as expected, whatever was expected, after a second look", async () => {
    const shot = { from: "ns/one", probe: { kind: "tcp", address: "10.63.62.2", port: 81 } } as const;
    const [reached] = await measureExpected(lab, [{ ...shot, expected: false }]);
    expect(reached).toMatchObject({ outcome: { result: "reached" }, again: true });
    await dropped("ns/two", async () => {
      const [silent] = await measureExpected(lab, [{ ...shot, expected: true }]);
      expect(silent).toMatchObject({ outcome: { result: "silent" }, again: true });
      const [expected] = await measureExpected(lab, [{ ...shot, expected: false }]);
      expect(expected).toMatchObject({ outcome: { result: "silent" }, again: false });
    });
  });

  it("keeps a connection open, and watches", async () => {
    const flow = await lab.open("ns/one", {
      kind: "tcp",
      address: "10.63.62.2",
      port: 81,
      timeoutMs: 20_000,
    });
    expect(flow).toBeTypeOf("number");
    const say = async (timeoutMs: number): Promise<string> =>
      (await lab.say("ns/one", flow as number, timeoutMs)).result;
    expect(await say(20_000)).toBe("reached");
    const probe = { kind: "udp", address: "10.63.62.2", port: 53, timeoutMs: 2_000, once: true } as const;
    const unwatch = await lab.watch("ns/one", probe, 10);
    // The process that watches answers these in the same loop: after this time it has sent samples.
    const sampled = async (): Promise<void> => {
      await sleep(100);
      expect(await say(20_000)).toBe("reached");
    };
    await sampled();
    const droppedAtMs = Date.now();
    await dropped("ns/two", async () => {
      expect(await say(300)).toBe("silent");
    });
    await sampled();
    const samples = await unwatch();
    // Open, then shut, then open. Samples that a busy machine sends late may belong to either side of a change.
    const before = samples.filter(({ sentAtMs }) => sentAtMs < droppedAtMs - 50).map(({ result }) => result);
    expect([...new Set(before)]).toEqual(["reached"]);
    expect(samples.map(({ result }) => result)).toContain("silent");
    expect(samples.at(-1)?.result).toBe("reached");
    await lab.shut("ns/one", flow as number);
    await expect(say(100)).rejects.toThrow("no flow");
  });

  it("refuses addresses that the machine already routes, and a prefix that is in use", async () => {
    const endpoints = [{ name: "x", addresses: ["10.63.62.2"] }];
    await expect(openLab({ prefix: "wt-other", endpoints })).rejects.toThrow("10.63.62.2 is taken");
    await expect(
      openLab({ prefix: "wt-other", endpoints: [{ name: "x", addresses: ["127.3.2.1"] }] }),
    ).rejects.toThrow("127.0.0.0/8 to lo");
    await expect(openLab({ prefix: "wt-lab", endpoints: [] })).rejects.toThrow("another process has it open");
    expect(traces("wt-other", "127.3.2.1")).toEqual([]);
  });

  it("cuts off one endpoint only", async () => {
    await lab.add([{ name: "ns/three", addresses: ["10.63.62.9"], tcp: [81] }]);
    expect(await mismatchesOf(lab, "ns/one -> ns/three tcp/81 : 46")).toEqual([]);
    lab.cut("ns/three");
    const outcome = await lab.probe("ns/one", {
      kind: "tcp",
      address: "10.63.62.9",
      port: 81,
      timeoutMs: 300,
    });
    expect(outcome.result).not.toBe("reached");
    expect(await mismatchesOf(lab, "ns/one -> ns/two tcp/81 : 46")).toEqual([]);
  });

  it("leaves nothing, and refuses later calls", async () => {
    lab.close();
    lab.close();
    expect(traces("wt-lab", "10.63.62.")).toEqual([]);
    await expect(
      lab.probe("ns/one", { kind: "icmp", address: "10.63.62.2", timeoutMs: 100 }),
    ).rejects.toThrow("closed");
  });
});

describe("a process with an open lab", () => {
  /** Starts it, waits until its lab is open, runs an action on it, and returns how it ended. */
  async function ended(how: string, address: string, signal?: NodeJS.Signals): Promise<number | string> {
    const args = ["--disable-warning=ExperimentalWarning", CHILD, "wt-child", address, how];
    const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "ignore"] });
    const exit = once(child, "exit") as Promise<[number | null, NodeJS.Signals | null]>;
    await once(child.stdout, "data");
    if (signal !== undefined) {
      expect(traces("wt-child", address)).not.toEqual([]);
      child.kill(signal);
    }
    const [code, killedBy] = await exit;
    return killedBy ?? code ?? "";
  }

  it.each([
    ["that throws", "throw", undefined, 1],
    ["that exits", "exit", undefined, 3],
    ["that gets SIGINT", "wait", "SIGINT", 130],
    ["that gets SIGTERM", "wait", "SIGTERM", 143],
    ["that loses its terminal", "wait", "SIGHUP", 129],
  ] as const)("%s leaves nothing", async (_what, how, signal, status) => {
    expect(await ended(how, "10.63.62.21", signal)).toBe(status);
    expect(traces("wt-child", "10.63.62.21")).toEqual([]);
  });

  it("that is killed leaves links and namespaces, which the next lab of its name removes", async () => {
    expect(await ended("wait", "10.63.62.22", "SIGKILL")).toBe("SIGKILL");
    expect(traces("wt-child", "10.63.62.22")).not.toEqual([]);
    const next = await openLab({
      prefix: "wt-child",
      endpoints: [{ name: "next", addresses: ["10.63.62.22"] }],
    });
    expect(traces("wt-child", "10.63.62.22").filter((line) => line.includes("only"))).toEqual([]);
    next.close();
    expect(traces("wt-child", "10.63.62.22")).toEqual([]);
  });
});
