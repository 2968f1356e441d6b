// A pod with two interfaces: what is opened on one is answered on the other, and a later pod inherits none of it.

import { afterAll, beforeAll, expect, it } from "vitest";
import type { Direction } from "../../src/base/direction.ts";
import { TCP_FLAG } from "../../src/engines/frame-builder.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { compile } from "../../src/policy/compile.ts";
import { NOTHING_NUMBERED } from "../../src/policy/identity-allocation.ts";
import { address, cluster, namespace, pod, policy } from "../support/model.ts";
import { OBJECT } from "../support/object.ts";
import {
  echo,
  echoReply,
  frame,
  icmpError,
  ip,
  type Segment,
  SYN_ACK,
  tcpSegment,
  udpSegment,
} from "./frames.ts";

const PEER = { 4: address("10.9.0.1"), 6: address("fd09::1") } as const;
const OWN = { 4: address("10.1.0.1"), 6: address("fd01::1") } as const;
const ips = [OWN[4].text, OWN[6].text];

let bench: Bench;
let numbering = NOTHING_NUMBERED;

beforeAll(async () => {
  bench = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf", xdp: true });
});

afterAll(() => bench.close());

/** Isolates the pod of this name for ingress; it has these devices of the bench. */
async function enforce(name: string, devices: readonly number[], mode?: { uid: string }) {
  const subject = { ...pod(name, ips), ...mode };
  const world = cluster({
    namespaces: [namespace("x")],
    pods: [subject],
    policies: [policy("x/deny", { isolates: { ingress: true, egress: false }, ingress: [] })],
  });
  const locals = devices.map((device) => ({ pod: subject, ifindex: bench.devices.at(device) }));
  const compiled = compile(world, locals, numbering);
  await bench.bring(compiled.state);
  numbering = compiled.numbering;
}

const run = (device: number, direction: Direction, bytes: Uint8Array, hook: "tc" | "xdp" = "tc") =>
  bench.run({ direction, hook, ifindex: bench.devices.at(device), ingressIfindex: 1, frame: bytes });

const rows = ([4, 6] as const).flatMap((family) =>
  (["tc", "xdp"] as const).flatMap((hook) =>
    (
      [
        ["TCP", tcpSegment(40_000, 443), tcpSegment(443, 40_000, SYN_ACK)],
        ["UDP", udpSegment(40_000, 53), udpSegment(53, 40_000)],
        ["echo", echo(family, 7), echoReply(family, 7)],
      ] as const
    ).map(([protocol, ask, answer]) => ({ family, hook, protocol, ask, answer })),
  ),
);

let device = 0;

it.each(rows)(
  "is one pod to $protocol over IPv$family, sent by $hook",
  async ({ family, hook, ask, answer }) => {
    const [one, other] = [device % 8, (device % 8) + 1];
    device += 2;
    const sent = (segment: Segment) => frame(OWN[family], PEER[family], segment);
    const received = (segment: Segment) => frame(PEER[family], OWN[family], segment);
    await enforce("x/first", [one, other]);
    expect(run(other, "ingress", received(answer))).toBe("drop");
    expect(run(one, "egress", sent(ask), hook)).toBe("pass");
    expect(run(other, "ingress", received(answer))).toBe("pass");
    expect(run(one, "ingress", received(answer))).toBe("pass");
    const error = icmpError(PEER[family], OWN[family], "too big", ip(OWN[family], PEER[family], ask));
    expect(run(other, "ingress", error)).toBe("pass");
    // The pod stays the same with one of them, and another pod on the same interface is another one.
    await enforce("x/first", [other]);
    expect(run(other, "ingress", received(answer))).toBe("pass");
    await enforce("x/second", [other]);
    expect(run(other, "ingress", received(answer))).toBe("drop");
    expect(run(other, "ingress", error)).toBe("drop");
    await enforce("x/second", [other], { uid: "again" });
    await enforce("x/second", [other], { uid: "anew" });
    expect(run(other, "egress", sent(tcpSegment(1, 2, TCP_FLAG.ACK)), hook)).toBe("pass");
    expect(run(other, "ingress", received(answer))).toBe("drop");
    await enforce("x/first", [one, other]);
    expect(run(other, "ingress", received(answer))).toBe("drop");
  },
);
