// Pod processes on the loopback interface, which needs no root: what their servers answer and how each probe ends.

import { createSocket } from "node:dgram";
import { type AddressInfo, createServer, type Server } from "node:net";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { PodProcess } from "../../../src/lab/pod-process-client.ts";
import type { Outcome, Probe, ProbeKind } from "../../../src/lab/pod-protocol.ts";

/** A port that was free a moment ago, for TCP and UDP. */
async function freePort(): Promise<number> {
  for (;;) {
    const server = createServer();
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const { port } = server.address() as AddressInfo;
    await new Promise((resolve) => server.close(resolve));
    const socket = createSocket("udp4");
    const isFree = await new Promise<boolean>((resolve) => {
      socket.once("error", () => resolve(false));
      socket.bind(port, "127.0.0.1", () => resolve(true));
    });
    socket.close();
    if (isFree) return port;
  }
}

let http: number;
let echo: number;
let closed: number;
/** Accepts, and never answers. */
let mute: Server;
let pod: PodProcess;

beforeAll(async () => {
  [http, echo, closed] = [await freePort(), await freePort(), await freePort()];
  mute = createServer();
  await new Promise<void>((resolve) => mute.listen(0, "127.0.0.1", resolve));
  const config = { name: "ns/pod", addresses: ["127.0.0.1", "::1"], http: [http], tcp: [echo], udp: [echo] };
  pod = PodProcess.spawn(undefined, config);
  await pod.ready();
});

afterAll(() => {
  pod?.close();
  mute?.close();
});

async function probe(kind: ProbeKind, rest: Partial<Probe>): Promise<Outcome> {
  const reply = await pod.command({
    command: "probe",
    probe: { kind, address: "127.0.0.1", timeoutMs: 5000, ...rest },
  });
  if (reply.reply !== "outcome") throw new Error(reply.reply);
  return reply.outcome;
}

describe.each(["127.0.0.1", "::1"])("on %s", (address) => {
  it("a web server answers with its name", async () => {
    expect(await probe("http", { address, port: http })).toMatchObject({ result: "reached", text: "ns/pod" });
  });

  it.each(["tcp", "udp"] as const)("a %s server sends back what it gets", async (kind) => {
    expect(await probe(kind, { address, port: echo })).toMatchObject({ result: "reached" });
  });

  it.each(["http", "tcp", "udp"] as const)("a closed port refuses %s", async (kind) => {
    expect(await probe(kind, { address, port: closed })).toEqual({
      result: "failed",
      reason: "ECONNREFUSED",
    });
  });
});

it("a server that accepts and sends nothing is silent", async () => {
  const { port } = mute.address() as AddressInfo;
  for (const kind of ["http", "tcp"] as const) {
    expect(await probe(kind, { port, timeoutMs: 100 })).toEqual({ result: "silent" });
  }
});

it("a server of another kind is not mistaken for an echo", async () => {
  expect(await probe("tcp", { port: http })).toMatchObject({ result: "failed" });
});

it("a connection is kept and used until it is closed", async () => {
  const opened = await pod.command({
    command: "open",
    probe: { kind: "tcp", address: "127.0.0.1", port: echo, timeoutMs: 5000 },
  });
  if (opened.reply !== "opened") throw new Error(opened.reply);
  const { flow } = opened;
  for (let round = 0; round < 3; round += 1) {
    expect(await pod.command({ command: "say", flow, timeoutMs: 5000 })).toMatchObject({
      outcome: { result: "reached" },
    });
  }
  await pod.command({ command: "shut", flow });
  await expect(pod.command({ command: "say", flow, timeoutMs: 100 })).rejects.toThrow(`no flow ${flow}`);
});

it("a watch gives one sample for each probe, with its time", async () => {
  const startedAt = Date.now();
  const watching = await pod.command({
    command: "watch",
    probe: { kind: "udp", address: "127.0.0.1", port: echo, timeoutMs: 5000, once: true },
    everyMs: 5,
  });
  if (watching.reply !== "watching") throw new Error(watching.reply);
  await new Promise((resolve) => setTimeout(resolve, 100));
  const ended = await pod.command({ command: "unwatch", watch: watching.watch });
  if (ended.reply !== "samples") throw new Error(ended.reply);
  expect(ended.samples.length).toBeGreaterThan(2);
  for (const { sentAtMs, result } of ended.samples) {
    expect(result).toBe("reached");
    expect(sentAtMs).toBeGreaterThanOrEqual(startedAt);
    expect(sentAtMs).toBeLessThanOrEqual(Date.now());
  }
});

it("an argument that Node refuses is an error of the command, and the process goes on", async () => {
  await expect(probe("tcp", { port: echo, source: "nonsense" })).rejects.toThrow("nonsense");
  expect(await probe("tcp", { port: echo })).toMatchObject({ result: "reached" });
});

it("a port in use is the reason why a process is not ready", async () => {
  const config = { name: "second", addresses: ["127.0.0.1"], http: [], tcp: [echo], udp: [] };
  const second = PodProcess.spawn(undefined, config);
  await expect(second.ready()).rejects.toThrow("EADDRINUSE");
  second.close();
});

it("after close every command is refused", async () => {
  const config = { name: "short", addresses: [], http: [], tcp: [], udp: [] };
  const short = PodProcess.spawn(undefined, config);
  await short.ready();
  const waiting = short.command({
    command: "probe",
    probe: { kind: "icmp", address: "127.0.0.1", timeoutMs: 5000 },
  });
  short.close();
  short.close();
  await expect(waiting).rejects.toThrow("closed");
  await expect(short.command({ command: "shut", flow: 1 })).rejects.toThrow("closed");
});
