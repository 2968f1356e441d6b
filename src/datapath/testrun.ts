// Running the programs on packets of one's own (BPF_PROG_TEST_RUN): the kernel's verdict without a wire.

import { Btf } from "bpf-ts";
import { present } from "../base/assert.ts";
import type { Direction } from "../base/direction.ts";
import type { Datapath } from "./object.ts";

export interface TestPacket {
  /** Seen from the pod: "ingress" runs to_pod. */
  readonly direction: Direction;
  /** Interface of the endpoint; it must exist. */
  readonly ifindex: number;
  /** Where the node received the packet from; 0 where it generated it itself. */
  readonly ingressIfindex: number;
  readonly frame: Uint8Array;
}

export type TestRunner = (packet: TestPacket) => "pass" | "drop";

/** TC_ACT_UNSPEC and TC_ACT_SHOT (linux/pkt_cls.h), as the unsigned number that a test run gives. */
const PASS = 0xffffffff;
const DROP = 2;

/** A runner for the loaded programs. Errors of a run: BpfError (ENODEV where the interface does not exist). */
export function testRunner(datapath: Datapath, objectPath: string): TestRunner {
  const { size, ifindex: at, ingressIfindex } = contextLayout(objectPath);
  const context = Buffer.alloc(size);
  return ({ direction, ifindex, ingressIfindex: from, frame }) => {
    context.writeUInt32LE(ifindex, at);
    context.writeUInt32LE(from, ingressIfindex);
    // The programs change no packet, so that none is asked back.
    const { result } = datapath.programs[direction].testRun({ data: frame, context, dataOutSize: 0 });
    if (result === PASS) return "pass";
    if (result === DROP) return "drop";
    throw new Error(`assertion failed: ${direction} returned ${result}`);
  };
}

/** Where the fields of struct __sk_buff stand, as the object was built with them. */
function contextLayout(objectPath: string) {
  const type = present(
    Btf.parse(objectPath).find("struct", "__sk_buff"),
    "struct __sk_buff in the object's BTF",
  );
  const offset = (name: string) =>
    present(
      type.members?.find((member) => member.name === name),
      `__sk_buff.${name}`,
    ).bitOffset / 8;
  return {
    size: present(type.size, "size of __sk_buff"),
    ifindex: offset("ifindex"),
    ingressIfindex: offset("ingress_ifindex"),
  };
}
