// The kernel's verdict on a trace: packets are built for it, and the agent has the interfaces' programs judge them.

import { present } from "../base/assert.ts";
import { DIRECTIONS, type Direction } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { packet } from "../engines/frame-builder.ts";
import { keyOf } from "../model/cluster.ts";
import type { EndpointView, JudgedView, JudgeRequest } from "../observe/api-views.ts";
import { type Party, permits, type SideVerdict } from "../policy/oracle.ts";
import type { Path } from "../policy/trace/traced-paths.ts";
import { tellAgent } from "./agent-client.ts";
import type { Context } from "./environment.ts";
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

/** Loading the programs at the first query takes the verifier seconds, on a loaded machine many. */
const JUDGE_MS_MAX = 60_000;

/** Evaluates each path at every end that is a pod of this node. The reason why it could not is an answer too. */
export async function askKernel(context: Context, live: Live, paths: readonly Path[]): Promise<KernelAnswer> {
  const endpoints = new Map(live.endpoints.map((each) => [keyOf(each), each]));
  const crossings = paths.flatMap((path, index) => crossingsOf(path, { index, endpoints }));
  if (crossings.length === 0) return { asked: false, reason: "neither end is an interface of this node" };
  const request: JudgeRequest = { packets: crossings.map(({ packet }) => packet) };
  try {
    const { generation, verdicts } = await tellAgent<JudgedView>(context, "judge", {
      body: JSON.stringify(request),
      timeoutMs: JUDGE_MS_MAX,
    });
    const answers = paths.map((): { -readonly [direction in Direction]?: KernelSide } => ({}));
    for (const [at, { path, index, interface: name, packet }] of crossings.entries()) {
      const { program, passes, reason } = present(verdicts[at], "the verdict on a packet");
      present(answers[index], "a path")[packet.direction] = {
        program,
        interface: name,
        verdict: passes ? "passes" : "drops",
        reason,
        agrees: isExpected(path, packet.direction, passes),
      };
    }
    return { asked: true, generation, paths: answers };
  } catch (thrown) {
    return { asked: false, reason: messageOf(thrown) };
  }
}

/** A path's packet at one of its ends' interfaces. */
interface Crossing {
  readonly path: Path;
  /** Of the path. */
  readonly index: number;
  readonly interface: string;
  readonly packet: JudgeRequest["packets"][number];
}

function crossingsOf(
  path: Path,
  { index, endpoints }: { readonly index: number; readonly endpoints: Endpoints },
): Crossing[] {
  return DIRECTIONS.flatMap((direction): Crossing[] => {
    const endpoint = endpointOf(path, direction, endpoints);
    if (endpoint?.ifindex === undefined || isLoopback(path, direction)) return [];
    const { ifindex, id } = endpoint;
    const ingressIfindex = endpointOf(path, "egress", endpoints)?.ifindex ?? ELSEWHERE;
    const frame = Buffer.from(frameOf(path, direction, clientPort(index, path))).toString("base64");
    const name = endpoint.interface ?? `interface ${ifindex}`;
    return [
      {
        path,
        index,
        interface: name,
        packet: { ifindex, ...(id === undefined ? {} : { id }), direction, ingressIfindex, frame },
      },
    ];
  });
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

const isByName = (verdict: SideVerdict): boolean =>
  verdict.kind === "accepted" && verdict.by.domain !== undefined;

/** Whether one end's program does as the policies say. */
export function isExpected({ sides, via }: Path, direction: Direction, passes: boolean): boolean {
  if (direction === "egress")
    return passes === (via === undefined ? permits(sides.egress.verdict) : via.leaves);
  if (permits(sides.egress.verdict)) {
    if (!permits(sides.ingress.verdict)) return !passes;
    // Of what only a name allows, this end may drop what it drops for Services.
    return passes || isByName(sides.egress.verdict);
  }
  // What the client may not send, it does not get this far; but where Services send it on, this end must drop it, and then it
  // drops what is sent straight as well (docs/decisions/0005-services.md).
  const mustDrop = via?.leaves === true || !permits(sides.ingress.verdict);
  return !(passes && mustDrop);
}
