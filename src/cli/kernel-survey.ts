// What the kernel and the pins show where no agent answers: what filters which interface, and by which maps.

import { DIRECTIONS } from "../base/direction.ts";
import { messageOf } from "../base/errors.ts";
import { holderOf } from "../datapath/agent-lock.ts";
import { type AttachedProgram, survey } from "../datapath/interface-survey.ts";
import type { EndpointRow } from "../observe/endpoints-table.ts";
import type { FilteredInterface, KernelView } from "../observe/status-report.ts";
import type { Context } from "./environment.ts";
import { interfaceNames, type Kernel, nothingPinned, readEndpoints, readKernelIfAny } from "./pinned-maps.ts";

/** Undefined where nothing is pinned and nothing attached. Never throws for what cannot be read: that is part of the view. */
export async function surveyKernel(context: Context): Promise<KernelView | undefined> {
  const { bpffs } = context.settings;
  const attached = await attachedPrograms(bpffs);
  const filtered = byInterface(attached.programs.filter(({ ours }) => ours));
  const others = byInterface(attached.programs.filter(({ ours }) => !ours));
  const maps = await mapsOf(context);
  if (maps === undefined && filtered.length === 0 && others.length === 0 && attached.error === undefined)
    return undefined;
  const unreadable = attached.error ?? (maps === undefined ? nothingPinned(context) : maps.unreadable);
  const isFiltered = (ifindex: number | undefined): boolean =>
    filtered.some(
      (each) => each.ifindex === ifindex && each.ingress !== undefined && each.egress !== undefined,
    );
  return {
    pins: bpffs,
    ...(maps?.found === undefined ? {} : { digest: maps.found.digest, generation: maps.found.generation }),
    endpoints: (maps?.found?.endpoints ?? []).map((row) => ({
      ...row,
      state: isFiltered(row.ifindex) ? row.state : "detached",
    })),
    ...(unreadable === undefined ? {} : { unreadable }),
    filtered,
    // Beside maps that can be read, another program is no news.
    others: maps?.found === undefined ? others : [],
    ...lockOf(bpffs),
  };
}

async function attachedPrograms(
  root: string,
): Promise<{ readonly programs: readonly AttachedProgram[]; readonly error?: string }> {
  try {
    return { programs: (await survey(root, interfaceNames().keys())).attached };
  } catch (error) {
    return { programs: [], error: `what is attached cannot be read: ${messageOf(error)}` };
  }
}

interface PinnedMaps {
  readonly found?: {
    readonly digest: string;
    readonly generation: number;
    readonly endpoints: readonly EndpointRow[];
  };
  readonly unreadable?: string;
}

async function mapsOf(context: Context): Promise<PinnedMaps | undefined> {
  try {
    const found = await readKernelIfAny(context, async (kernel) => ({
      digest: kernel.pins.digest,
      generation: kernel.generation,
      endpoints: await endpointRows(kernel),
    }));
    return found && { found };
  } catch (error) {
    return { unreadable: `the pinned maps cannot be read: ${messageOf(error)}` };
  }
}

/** The endpoints in the maps, as the kernel has them: without names. */
export async function endpointRows(kernel: Kernel): Promise<EndpointRow[]> {
  return (await readEndpoints(kernel)).map(({ policy, audit, ...record }) => ({
    ...record,
    state: audit === undefined ? "enforced" : "audit",
    ingress: { policy: policy.ingress, audit: audit?.includes("ingress") === true },
    egress: { policy: policy.egress, audit: audit?.includes("egress") === true },
  }));
}

function byInterface(programs: readonly AttachedProgram[]): FilteredInterface[] {
  const names = interfaceNames();
  return [...Map.groupBy(programs, ({ ifindex }) => ifindex)].map(([ifindex, found]) => {
    const name = names.get(ifindex);
    const hooks = DIRECTIONS.map(
      (direction) => [direction, found.find((each) => each.direction === direction)?.hook] as const,
    );
    return {
      ifindex,
      ...(name === undefined ? {} : { interface: name }),
      ...Object.fromEntries(hooks.filter(([, hook]) => hook !== undefined)),
    };
  });
}

function lockOf(root: string): Pick<KernelView, "lockedBy"> {
  const holder = holderOf(root);
  return holder === undefined ? {} : { lockedBy: holder };
}
