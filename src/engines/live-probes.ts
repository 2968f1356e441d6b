// The cells of a step as probes over real sockets: what each sends, and what its outcome means.

import { measure, SECOND_LOOK_MS, type Shot } from "../lab/measure-reachability.ts";
import { type Lab, NODE } from "../lab/netns-lab.ts";
import type { Outcome, ProbeKind } from "../lab/pod-protocol.ts";
import type { Rewrite } from "../lab/service-nat.ts";
import { frontendKey } from "../model/frontends.ts";
import type { Cell } from "../source/conformance/case-types.ts";
import { arriving } from "./cell-verdict.ts";
import { type Hosts, whyUnusable } from "./live-hosts.ts";
import type { Verdict } from "./live-protocol.ts";

/** Connections that cells opened to be used again, by the ids of the case. */
export type Flows = Map<string, { readonly host: string; readonly flow: number }>;

const KIND: { readonly [protocol in Cell["protocol"]]: ProbeKind | undefined } = {
  TCP: "tcp",
  UDP: "udp",
  ICMP: "icmp",
  SCTP: undefined,
};

/** An answer that took this long came from a machine that is too busy for silence to mean a drop. */
const BUSY_MS = 150;

/** One verdict for every cell, in their order. */
export async function probe(
  cells: readonly Cell[],
  { lab, hosts, flows }: { readonly lab: Lab; readonly hosts: Hosts; readonly flows: Flows },
): Promise<Verdict[]> {
  const asked = cells.map((cell) => shotOf(cell, hosts));
  const verdicts: Verdict[] = asked.map((each) =>
    "why" in each ? { outcome: "unable", what: each.why } : UNASKED,
  );
  const fresh: Numbered[] = [];
  for (const [index, each] of asked.entries()) {
    const cell = cells[index];
    if (cell === undefined || "why" in each) continue;
    if (cell.connection === undefined) fresh.push({ index, cell, shot: each });
    else verdicts[index] = await onConnection(cell, cell.connection, each, { lab, flows });
  }
  for (const { index, outcome } of await measured(lab, fresh)) verdicts[index] = verdictOf(outcome);
  return verdicts;
}

const UNASKED: Verdict = { outcome: "failed", what: "not probed" };

interface Numbered {
  readonly index: number;
  readonly cell: Cell;
  readonly shot: Shot;
}

/**
 * All at once. An answer is final: it contains the probe's own words. Silence is probed again, with a longer timeout, if an answer
 * is expected, or if answers took so long that silence proves nothing; so are failures.
 */
async function measured(
  lab: Lab,
  asked: readonly Numbered[],
): Promise<{ readonly index: number; readonly outcome: Outcome }[]> {
  const outcomes = await measure(
    lab,
    asked.map(({ shot }) => shot),
  );
  const first = asked.map((each, place) => ({ ...each, outcome: outcomes[place] ?? NOT_MEASURED }));
  const isBusy = first.some(
    // How long ping takes to start is no matter of the network.
    ({ shot, outcome }) =>
      outcome.result === "reached" && outcome.afterMs > BUSY_MS && shot.probe.kind !== "icmp",
  );
  const doubtful = first.filter(
    ({ cell, outcome }) =>
      outcome.result === "failed" || (outcome.result === "silent" && (isBusy || cell.expected === "allowed")),
  );
  const later = await measure(
    lab,
    doubtful.map(({ shot }) => shot),
    SECOND_LOOK_MS,
  );
  const second = new Map(doubtful.map(({ index }, place) => [index, later[place] ?? NOT_MEASURED]));
  return first.map(({ index, outcome }) => ({ index, outcome: second.get(index) ?? outcome }));
}

const NOT_MEASURED: Outcome = { result: "failed", reason: "not measured" };

/** What to send, or why nothing can be sent. */
function shotOf(cell: Cell, hosts: Hosts): Shot | { readonly why: string } {
  const { from, to, side, protocol, port } = cell;
  const kind = KIND[protocol];
  // Not compared, so not waited for.
  if (cell.expected === "open") return { why: "not compared, by the case" };
  if (side !== "both") return { why: "sockets see both ends together, not one alone" };
  if (kind === undefined) return { why: `no ${protocol} sockets in Node.js` };
  if (kind !== "icmp" && port === 0) return { why: "no socket has port 0" };
  const unusable = whyUnusable(from.address) ?? whyUnusable(to.address);
  if (unusable !== undefined) return { why: unusable };
  const target = { kind, address: to.address.text, ...(kind === "icmp" ? {} : { port }) };
  if (cell.beyondPolicy) {
    if (!from.name.startsWith("node:") || to.pod === undefined)
      return { why: "of nodes, only traffic to their pods is probed" };
    return { from: NODE, probe: target };
  }
  const host = hosts.hostOf(from);
  if (host === undefined) return { why: `${from.address.text} of ${from.name} is a pod's address` };
  const server = arriving(cell).to;
  if (hosts.hostOf(server) === undefined)
    return { why: `${server.address.text} of ${server.name} is a pod's address` };
  return { from: host, probe: { ...target, source: from.address.text } };
}

function verdictOf(outcome: Outcome): Verdict {
  switch (outcome.result) {
    case "reached":
      return { outcome: "allowed", what: `answered after ${outcome.afterMs} ms` };
    case "silent":
      return { outcome: "blocked", what: "no answer" };
    case "failed":
      return { outcome: "failed", what: `the probe failed: ${outcome.reason}` };
  }
}

/** A segment that a policy drops is known by silence; TCP sends it again meanwhile, so that none is lost by chance. */
const FLOW_SILENT_MS = 1000;
/** After silence TCP tries again by itself, but at ever longer intervals: this is how long to wait for the next time. */
const FLOW_ANSWER_MS = 15_000;

/** A connection is opened by one cell, and a later one says a word on it. */
async function onConnection(
  cell: Cell,
  { use, id }: NonNullable<Cell["connection"]>,
  shot: Shot,
  { lab, flows }: { readonly lab: Lab; readonly flows: Flows },
): Promise<Verdict> {
  if (shot.probe.kind !== "tcp") return { outcome: "unable", what: "only TCP connections are kept" };
  if (use === "open") {
    const opened = await lab.open(shot.from, { ...shot.probe, timeoutMs: SECOND_LOOK_MS });
    if (typeof opened !== "number") return verdictOf(opened);
    flows.set(id, { host: shot.from, flow: opened });
    return { outcome: "allowed", what: "opened" };
  }
  const known = flows.get(id);
  if (known === undefined) return { outcome: "unable", what: `connection ${id} is not open` };
  const timeoutMs = cell.expected === "blocked" ? FLOW_SILENT_MS : FLOW_ANSWER_MS;
  return verdictOf(await lab.say(known.host, known.flow, timeoutMs));
}

// Divides cells into passes: in each, every Service's address leads to one backend, so that a cell can name the one it means.

export interface Round {
  /** Indices of the step's cells. */
  readonly cells: readonly number[];
  readonly rewrites: readonly Rewrite[];
}

/** Cells without a Service are in the first one. */
export function roundsOf(cells: readonly Cell[]): Round[] {
  const rounds: { cells: number[]; rewrites: Rewrite[] }[] = [{ cells: [], rewrites: [] }];
  const targets = new Map<string, string[]>();
  for (const [index, { behind }] of cells.entries()) {
    if (behind === undefined) {
      rounds[0]?.cells.push(index);
      continue;
    }
    const { frontend, end, port } = behind;
    const key = frontendKey(frontend);
    const known = targets.get(key) ?? [];
    const target = `${end.address.text} ${port}`;
    const isNew = !known.includes(target);
    if (isNew) targets.set(key, [...known, target]);
    const at = isNew ? known.length : known.indexOf(target);
    rounds[at] ??= { cells: [], rewrites: [] };
    rounds[at].cells.push(index);
    if (!isNew) continue;
    rounds[at].rewrites.push({
      address: frontend.address.text,
      protocol: frontend.protocol === "TCP" ? "tcp" : frontend.protocol === "UDP" ? "udp" : "sctp",
      port: frontend.port,
      to: { address: end.address.text, port },
      masquerade: false,
    });
  }
  return rounds;
}
