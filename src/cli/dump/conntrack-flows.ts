// Choosing flows of conntrack by what they have in common, to list or to forget them.

import { type Cidr, cidrOf, parseAddress, parseCidr } from "../../base/ip.ts";
import type { NamesView } from "../../observe/api-views.ts";
import { type FlowFilter, flowPasses } from "../../observe/dump/flow-filter.ts";
import type { FlowStateName } from "../../observe/dump/flow-states.ts";
import type { Dump } from "../../observe/dump/map-dump.ts";
import { conntrackDump } from "../../observe/dump/traffic-dumps.ts";
import type { PodName } from "../command.ts";
import { CommandError, type Context, EXIT } from "../environment.ts";
import { namesFor } from "../names.ts";
import { readKernel } from "../pinned-maps.ts";
import { scanFlows } from "./flows.ts";

/** What flows have in common, as the command line has it. */
export interface FlowOptions {
  readonly pod?: PodName;
  readonly peer?: string;
  readonly port?: number;
  readonly protocol?: readonly number[];
  readonly state?: FlowStateName;
}

export async function listFlows(context: Context, options: FlowOptions): Promise<Dump> {
  const { filter, names } = await filterOf(context, options);
  const records = await readKernel(context, async (kernel) =>
    (await scanFlows(kernel))
      .filter(({ record }) => flowPasses(record, filter, kernel.generation))
      .map(({ record }) => record),
  );
  return conntrackDump(records, names);
}

/** Gives how many flows were removed, or would be. */
export async function flushFlows(context: Context, options: FlowOptions, dryRun: boolean): Promise<number> {
  const { filter } = await filterOf(context, options);
  return readKernel(context, async (kernel) => {
    const found = (await scanFlows(kernel)).filter(({ record }) =>
      flowPasses(record, filter, kernel.generation),
    );
    if (dryRun) return found.length;
    const v4 = found.flatMap((each) => (each.map === "conntrack_v4" ? [each.key] : []));
    const v6 = found.flatMap((each) => (each.map === "conntrack_v6" ? [each.key] : []));
    return (
      (await kernel.table("conntrack_v4").deleteBatch(v4)) +
      (await kernel.table("conntrack_v6").deleteBatch(v6))
    );
  });
}

interface Chosen {
  readonly filter: FlowFilter;
  readonly names: NamesView | undefined;
}

async function filterOf(context: Context, options: FlowOptions): Promise<Chosen> {
  const { names, reason } = await namesFor(context);
  const { pod, peer, port, protocol, state } = options;
  const needNames = (): NamesView => {
    if (names === undefined)
      throw new CommandError(`${reason}; without it pods have no names to choose them by`);
    return names;
  };
  const filter: FlowFilter = {
    ...(pod === undefined ? {} : { interfaces: interfacesOf(pod, needNames()) }),
    ...(peer === undefined ? {} : { peers: peersOf(peer, needNames) }),
    ...(port === undefined ? {} : { port }),
    ...(protocol === undefined ? {} : { protocols: new Set(protocol) }),
    ...(state === undefined ? {} : { state }),
  };
  return { filter, names };
}

/** @throws CommandError where the pod is not on this node (exit code 4) */
function interfacesOf({ namespace, name }: PodName, { endpoints }: NamesView): ReadonlySet<number> {
  const key = `${namespace}/${name}`;
  const found = Object.entries(endpoints).flatMap(([ifindex, pod]) => (pod === key ? [Number(ifindex)] : []));
  if (found.length === 0) throw new CommandError(`no pod ${key} on this node`, EXIT.notFound);
  return new Set(found);
}

/** An address, a prefix, or the addresses of a pod anywhere. @throws CommandError where it is none of these */
function peersOf(text: string, needNames: () => NamesView): readonly Cidr[] {
  const address = parseAddress(text);
  if (address.ok) return [exactly(address.value)];
  const cidr = parseCidr(text);
  if (cidr.ok) return [cidr.value];
  if (!/^[^/]+\/[^/]+$/.test(text) || /^[0-9a-f.:]+\/[0-9]+$/i.test(text)) {
    throw new CommandError(
      `--peer ${text}: expected an address, a prefix, or a pod as NAMESPACE/NAME`,
      EXIT.usage,
    );
  }
  const found = Object.entries(needNames().addresses).flatMap(([key, pod]) => {
    const own = parseAddress(key);
    return pod === text && own.ok ? [exactly(own.value)] : [];
  });
  if (found.length === 0)
    throw new CommandError(`--peer: no pod ${text} is known to the agent`, EXIT.notFound);
  return found;
}

const exactly = ({ family, value }: Pick<Cidr, "family" | "value">): Cidr =>
  cidrOf(family, value, family === 4 ? 32 : 128);
