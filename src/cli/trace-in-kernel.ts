// The kernel's verdict on a trace: the programs attached to the interfaces, run on a packet built for it.

import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { attachedProgram } from "../datapath/hooks.ts";
import {
  openShadowPrograms,
  PROGRAM_AT,
  type ShadowPacket,
  type ShadowPrograms,
} from "../datapath/shadow-programs.ts";
import { packet } from "../engines/frame-builder.ts";
import { REASON_NAMES } from "../gen/layout.ts";
import { keyOf } from "../model/cluster.ts";
import type { EndpointView } from "../observe/api-views.ts";
import { type Party, permits } from "../policy/oracle.ts";
import type { Path } from "../policy/trace/traced-paths.ts";
import { type Context, objectPath } from "./environment.ts";
import { nothingPinned, readKernelIfAny } from "./pinned-maps.ts";
import type { Live } from "./query-manifests.ts";

/** What one end's program says. */
export interface KernelSide {
  readonly program: string;
  readonly interface: string;
  readonly verdict: "passes" | "drops";
  /** The reason under which the packet is counted; "not-attached" without a program. */
  readonly reason: string;
  readonly agrees: boolean;
}

export type KernelSides = { readonly [direction in Direction]?: KernelSide };

export type KernelAnswer =
  | { readonly asked: false; readonly reason: string }
  | { readonly asked: true; readonly generation: number; readonly paths: readonly KernelSides[] };

/** Evaluates each path at every end that is a pod of this node. The reason why it could not is an answer too. */
export async function askKernel(context: Context, live: Live, paths: readonly Path[]): Promise<KernelAnswer> {
  const { bpffs } = context.settings;
  const endpoints = new Map(live.endpoints.map((each) => [keyOf(each), each]));
  try {
    const hooks = hooksOf(bpffs, paths, endpoints);
    if (hooks.size === 0) return { asked: false, reason: "neither end is an interface of this node" };
    const generation = await readKernelIfAny(context, async (kernel) => kernel.generation);
    if (generation === undefined) return { asked: false, reason: nothingPinned(context) };
    const places = new Set([...hooks.values()].flatMap((hook) => hook?.place ?? []));
    const aside = await openShadowPrograms(bpffs, objectPath(context.env), [...places]);
    try {
      const answers: KernelSides[] = [];
      for (const [index, path] of paths.entries())
        answers.push(await sidesOf(path, { aside, hooks, endpoints, clientPort: clientPort(index, path) }));
      return { asked: true, generation, paths: answers };
    } finally {
      aside.close();
    }
  } catch (thrown) {
    return { asked: false, reason: messageOf(thrown) };
  }
}

/** The program attached to an interface for a direction, by `hookKey`; undefined without one. */
type Hooks = ReadonlyMap<string, ReturnType<typeof attachedProgram>>;

const hookKey = (ifindex: number, direction: Direction): string => `${ifindex}/${direction}`;

function hooksOf(root: string, paths: readonly Path[], endpoints: Endpoints): Hooks {
  const hooks = new Map<string, ReturnType<typeof attachedProgram>>();
  for (const path of paths) {
    for (const direction of DIRECTIONS) {
      const ifindex = endpointOf(path, direction, endpoints)?.ifindex;
      if (ifindex === undefined || isLoopback(path, direction)) continue;
      const key = hookKey(ifindex, direction);
      if (!hooks.has(key)) hooks.set(key, attachedProgram(root, ifindex, direction));
    }
  }
  return hooks;
}

type Endpoints = ReadonlyMap<string, EndpointView>;

const subjectOf = ({ probe }: Path, direction: Direction): Party =>
  direction === "ingress" ? probe.to : probe.from;

function endpointOf(path: Path, direction: Direction, endpoints: Endpoints): EndpointView | undefined {
  const subject = subjectOf(path, direction);
  return subject.kind === "pod" ? endpoints.get(keyOf(subject.pod)) : undefined;
}

/** What a pod sends to itself crosses no interface. */
const isLoopback = (path: Path, direction: Direction): boolean =>
  path.sides[direction].verdict.kind === "loopback";

/** Every query is a connection of its own, from a port other than the destination's. */
const EPHEMERAL = { first: 32_768, count: 28_232 } as const;
function clientPort(index: number, { probe }: Path): number {
  const port = EPHEMERAL.first + (index % EPHEMERAL.count);
  return port === probe.port ? EPHEMERAL.first - 1 : port;
}

/** An interface without an endpoint: packets of other nodes come from one. The loopback device always exists. */
const ELSEWHERE = 1;

interface Asked {
  readonly aside: ShadowPrograms;
  readonly hooks: Hooks;
  readonly endpoints: Endpoints;
  readonly clientPort: number;
}

async function sidesOf(path: Path, asked: Asked): Promise<KernelSides> {
  const sides: { [direction in Direction]?: KernelSide } = {};
  for (const direction of DIRECTIONS) {
    const endpoint = endpointOf(path, direction, asked.endpoints);
    if (endpoint?.ifindex === undefined || isLoopback(path, direction)) continue;
    const { ifindex } = endpoint;
    const ingressIfindex = endpointOf(path, "egress", asked.endpoints)?.ifindex ?? ELSEWHERE;
    const hook = asked.hooks.get(hookKey(ifindex, direction));
    const frame = frameOf(path, direction, asked.clientPort);
    const { passes, reason } = await judge(asked.aside, hook, { ifindex, ingressIfindex, frame });
    sides[direction] = {
      program: PROGRAM_AT[hook?.place ?? direction],
      interface: endpoint.interface ?? `interface ${ifindex}`,
      verdict: passes ? "passes" : "drops",
      reason,
      agrees: isExpected(path, direction, passes),
    };
  }
  return sides;
}

/** The packet as it crosses an end's interface: the client's still bears the Service's address and port. */
export function frameOf({ probe, via }: Path, direction: Direction, clientPort: number): Uint8Array {
  const { address, port } =
    direction === "egress" && via !== undefined
      ? via.frontend
      : { address: probe.to.address, port: probe.port };
  return packet({
    source: probe.from.address,
    destination: address,
    protocol: probe.protocol,
    sourcePort: clientPort,
    destinationPort: port,
  });
}

/** Whether one end's program does as the policies say. */
export function isExpected({ sides, via }: Path, direction: Direction, passes: boolean): boolean {
  if (direction === "egress")
    return passes === (via === undefined ? permits(sides.egress.verdict) : via.leaves);
  if (permits(sides.egress.verdict)) return passes === permits(sides.ingress.verdict);
  // What the client may not send, it does not get this far; but where Services send it on, this end must drop it, and then it
  // drops what is sent straight as well (docs/decisions/0005-services.md).
  const mustDrop = via?.leaves === true || !permits(sides.ingress.verdict);
  return !(passes && mustDrop);
}

async function judge(
  aside: ShadowPrograms,
  hook: ReturnType<typeof attachedProgram>,
  packet: Omit<ShadowPacket, "place">,
): Promise<{ readonly passes: boolean; readonly reason: string }> {
  if (hook === undefined) return { passes: true, reason: "not-attached" };
  if (!aside.isShadowOf(hook.place, hook.id))
    throw new Error(`${PROGRAM_AT[hook.place]} on interface ${packet.ifindex} is another build's`);
  const { passes, reason } = await aside.judge({ ...packet, place: hook.place });
  return { passes, reason: REASON_NAMES[reason] ?? `reason ${reason}` };
}
