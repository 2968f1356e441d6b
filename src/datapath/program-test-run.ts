// Runs the programs on test packets (BPF_PROG_TEST_RUN): the kernel's verdict without a network.

import { type BpfProgram, Btf } from "bpf-ts";
import { present } from "../base/assert.ts";
import type { Direction, FromPodHook } from "../base/direction.ts";
import { guardPathOf } from "./program-loader.ts";

export interface TestPacket {
  /** Seen from the pod: "ingress" runs to_pod. */
  readonly direction: Direction;
  /** Which program runs for "egress"; "tc" if not given. */
  readonly hook?: FromPodHook;
  /** Interface of the endpoint; it must exist. */
  readonly ifindex: number;
  /** The interface on which the node received the packet; 0 if it generated the packet itself. */
  readonly ingressIfindex: number;
  readonly frame: Uint8Array;
  /** For tc programs; 0 if not given. */
  readonly priority?: number;
}

export type TestRunner = (packet: TestPacket) => "pass" | "drop";

/** One program, run on one frame. */
type Run = (packet: Omit<TestPacket, "hook">) => number;

interface Outcomes {
  readonly pass: number;
  readonly drop: number;
}

/** TC_ACT_UNSPEC and TC_ACT_SHOT (linux/pkt_cls.h), as the unsigned numbers that a test run returns. */
const TC: Outcomes = { pass: 0xffffffff, drop: 2 };
/** XDP_PASS and XDP_DROP (linux/bpf.h). */
const XDP: Outcomes = { pass: 2, drop: 1 };

/** Loaded programs, such as a datapath or a guard. */
export interface Runnable {
  readonly programs: { readonly [direction in Direction]?: BpfProgram };
}
export interface RunnableXdp {
  readonly programs: { readonly fromPod: BpfProgram };
}

/**
 * A runner for loaded programs, including XDP if a guard is given. Errors of a run: BpfError (ENODEV if the
 * interface does not exist).
 */
export function testRunner(datapath: Runnable, objectPath: string, guard?: RunnableXdp): TestRunner {
  const tc = tcRunner(datapath, objectPath);
  const xdp = guard === undefined ? undefined : xdpRunner(guard, objectPath);
  return ({ hook = "tc", ...packet }) => {
    const overXdp = packet.direction === "egress" && hook === "xdp";
    const result = overXdp ? present(xdp, "a guard to run")(packet) : tc(packet);
    const { pass, drop } = overXdp ? XDP : TC;
    if (result === pass) return "pass";
    if (result === drop) return "drop";
    throw new Error(`assertion failed: ${packet.direction} returned ${result}`);
  };
}

function tcRunner({ programs }: Runnable, objectPath: string): Run {
  const { size, offset } = contextLayout(objectPath, "__sk_buff");
  const context = Buffer.alloc(size);
  const [at, cameInAt, priorityAt] = [offset("ifindex"), offset("ingress_ifindex"), offset("priority")];
  return ({ direction, ifindex, ingressIfindex, frame, priority = 0 }) => {
    context.writeUInt32LE(priority, priorityAt);
    context.writeUInt32LE(ifindex, at);
    context.writeUInt32LE(ingressIfindex, cameInAt);
    // The programs do not change packets, so no output packet is requested.
    const program = present(programs[direction], `the program for ${direction}`);
    return program.testRun({ data: frame, context, dataOutSize: 0 }).result;
  };
}

function xdpRunner({ programs }: RunnableXdp, objectPath: string): Run {
  const { size, offset } = contextLayout(guardPathOf(objectPath), "xdp_md");
  const context = Buffer.alloc(size);
  const [end, at] = [offset("data_end"), offset("ingress_ifindex")];
  return ({ ifindex, frame }) => {
    // XDP sees a frame on its ingress interface; the kernel requires its length twice.
    context.writeUInt32LE(frame.length, end);
    context.writeUInt32LE(ifindex, at);
    return programs.fromPod.testRun({ data: frame, context, dataOutSize: 0 }).result;
  };
}

/** The offsets of the fields of a context, as in the built object. */
export function contextLayout(path: string, name: "__sk_buff" | "xdp_md") {
  const type = present(Btf.parse(path).find("struct", name), `struct ${name} in the object's BTF`);
  const offset = (field: string): number =>
    present(
      type.members?.find((member) => member.name === field),
      `${name}.${field}`,
    ).bitOffset / 8;
  return { size: present(type.size, `size of ${name}`), offset };
}
