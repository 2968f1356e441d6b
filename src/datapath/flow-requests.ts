// Changes of the flow table from user space, by the program flow_requests: user space never stores into the table.

import { setImmediate as nextTurn } from "node:timers/promises";
import type { BpfProgram } from "bpf-ts";
import { codeOf } from "../base/errors.ts";
import {
  type AddressV6,
  CountedFamily,
  decodeFlowRequest,
  encodeFlowRequest,
  FLOW_REQUEST_SIZE,
  FLOW_REQUESTS,
  FlowOperation,
  type FlowRequest,
  FlowResult,
  type FlowV4Key,
  type FlowV6Key,
} from "../gen/layout.ts";

/** How the C source names it. */
export const FLOW_REQUESTS_PROGRAM = "flow_requests";

export type FlowKey =
  | { readonly map: "conntrack_v4"; readonly key: FlowV4Key }
  | { readonly map: "conntrack_v6"; readonly key: FlowV6Key };

export interface NewFlow {
  /** In ticks. */
  readonly expires: bigint;
  readonly generation: number;
  readonly opener: FlowRequest["opener"];
  readonly state: number;
  /** Of the pod's endpoint. */
  readonly tenant: number;
}

type Request = Omit<FlowRequest, "result">;

const NO_FLOW: NewFlow = { expires: 0n, generation: 0, opener: 0, state: 0, tenant: 0 };

/** IPv4 addresses as the first four bytes of the low half. */
const v4In = (address: number): AddressV6 => ({ high: 0n, low: BigInt(address) << 32n });

function endsOf({ map, key }: FlowKey): Pick<Request, "local" | "remote" | "family"> {
  return map === "conntrack_v4"
    ? { local: v4In(key.local), remote: v4In(key.remote), family: CountedFamily.IPV4 }
    : { local: key.local, remote: key.remote, family: CountedFamily.IPV6 };
}

const requestOf = (flow: FlowKey, operation: FlowOperation, value: NewFlow = NO_FLOW): Request => ({
  ...endsOf(flow),
  localPort: flow.key.localPort,
  remotePort: flow.key.remotePort,
  owner: flow.key.owner,
  operation,
  ...value,
});

/** Adds the flow, unless the table has it. */
export const addition = (flow: FlowKey, value: NewFlow): Request => requestOf(flow, FlowOperation.ADD, value);
const removal = (flow: FlowKey): Request => requestOf(flow, FlowOperation.REMOVE);

/** Runs in between which others get a turn. */
const RUNS_AT_ONCE = 64;

/** Runs the requests in order, and gives their results. Errors: BpfError. */
export async function runRequests(
  program: BpfProgram,
  requests: Iterable<Request> | AsyncIterable<Request>,
): Promise<readonly FlowResult[]> {
  const results: FlowResult[] = [];
  let runs = 0;
  let frame: Request[] = [];
  const run = async (): Promise<void> => {
    results.push(...runFrame(program, frame));
    frame = [];
    if (++runs % RUNS_AT_ONCE === 0) await nextTurn();
  };
  for await (const request of requests) {
    frame.push(request);
    if (frame.length === FLOW_REQUESTS) await run();
  }
  if (frame.length > 0) await run();
  return results;
}

/** A flow whose packets keep changing its entry at the very moment of its removal stays. */
const REMOVAL_ATTEMPTS_MAX = 10;

/** Removes flows; gives the number of those that the table had. Errors: BpfError. */
export async function removeFlows(program: BpfProgram, flows: readonly FlowKey[]): Promise<number> {
  let removed = 0;
  let left = flows;
  for (let attempt = 0; left.length > 0 && attempt < REMOVAL_ATTEMPTS_MAX; attempt++) {
    const results = await runRequests(program, left.map(removal));
    removed += results.filter((result) => result === FlowResult.DONE).length;
    left = left.filter((_, at) => results[at] === FlowResult.REFUSED);
  }
  return removed;
}

function runFrame(program: BpfProgram, requests: readonly Request[]): FlowResult[] {
  const data = Buffer.alloc(requests.length * FLOW_REQUEST_SIZE);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  for (const [i, request] of requests.entries())
    encodeFlowRequest({ ...request, result: FlowResult.UNANSWERED }, view, i * FLOW_REQUEST_SIZE);
  const out = runOn(program, data).dataOut;
  const answers = new DataView(out.buffer, out.byteOffset, out.byteLength);
  return requests.map((_, i) => decodeFlowRequest(answers, i * FLOW_REQUEST_SIZE).result);
}

/** A signal between the repetitions of a run ends it early. */
export function runOn(
  program: BpfProgram,
  data: Buffer,
): { readonly result: number; readonly dataOut: Buffer } {
  for (;;) {
    try {
      return program.testRun({ data, dataOutSize: data.length });
    } catch (error) {
      if (codeOf(error) !== "EINTR") throw error;
    }
  }
}
