// The node's uplinks: applies the denied prefixes, and attaches the program that looks them up.

import { readFileSync } from "node:fs";
import { codeOf, messageOf } from "../base/errors.ts";
import type { XdpMode } from "../datapath/attachments.ts";
import { readDenied as readInForce, readScreened, writeDenied } from "../datapath/denied-prefix-maps.ts";
import { SCREENED_NAMES } from "../gen/layout.ts";
import type { Problem } from "../model/problem.ts";
import { isOpenForWriting } from "../node/kernel-queries.ts";
import type { UplinkView } from "../observe/api-views.ts";
import { type DeniedReading, readDenied, watchDenied } from "../source/denied-prefixes-file.ts";
import { DENIED_MAX } from "../state/denied-prefixes.ts";
import type { Kernel } from "./datapath-handle.ts";

export interface UplinkOptions {
  /** Names of the interfaces. */
  readonly interfaces: readonly string[];
  /** Path of the file of denied prefixes. */
  readonly denied: string;
}

export interface Uplinks {
  /** Reads the file, and again whenever it changes, until the signal aborts. */
  watch(onChange: () => void, signal: AbortSignal): DeniedWatch;
  /** Reads the file once. */
  read(): Promise<void>;
  /**
   * Applies the last list read, and attaches the program where it is missing. A list already in force is
   * compared with the kernel only on a resync. Never throws: returns problems.
   */
  bring(resync: boolean): Promise<readonly Problem[]>;
  view(): UplinkView;
}

export interface DeniedWatch {
  /** Resolves once the file has been read, in full or not, or at the end. */
  readonly first: Promise<void>;
  readonly ended: Promise<void>;
}

const HOW = { max: DENIED_MAX, openForWriting: isOpenForWriting };
const NOTHING_DROPPED = "nothing is dropped on it";
const LIST_STAYS = "the previous list of denied prefixes stays in force";

export function openUplinks(kernel: Kernel, { interfaces, denied }: UplinkOptions): Uplinks {
  const { tables } = kernel.maps;
  let modes: ReadonlyMap<string, XdpMode> = new Map();
  let prefixes = 0;
  let reading: DeniedReading | undefined;
  /** The last list that was read completely; undefined as long as only the kernel has one. */
  let wanted: readonly string[] | undefined;
  /** The list last written to the kernel. */
  let inForce: readonly string[] | undefined;

  const take = (next: DeniedReading): void => {
    reading = next;
    if (next.ok) wanted = next.prefixes;
  };

  async function bringList(resync: boolean): Promise<Problem[]> {
    if (wanted !== undefined && wanted === inForce && !resync) return [];
    try {
      if (wanted !== undefined) await writeDenied(tables, wanted);
      inForce = wanted;
      prefixes = wanted?.length ?? (await readInForce(tables))?.size ?? 0;
      return [];
    } catch (error) {
      return [{ severity: "error", reason: messageOf(error), effect: LIST_STAYS }];
    }
  }

  return {
    watch(onChange, signal) {
      const first = Promise.withResolvers<void>();
      const ended = watchDenied(denied, {
        ...HOW,
        signal,
        onChange: (next) => {
          take(next);
          first.resolve();
          onChange();
        },
      });
      return { first: Promise.race([first.promise, ended]), ended };
    },
    read: async () => take(await readDenied(denied, HOW)),
    async bring(resync) {
      // The list first: without one the program drops nothing.
      const problems = [...(reading?.problems ?? []), ...(await bringList(resync))];
      const attached = await attachAll(kernel, interfaces);
      modes = attached.modes;
      return [...problems, ...attached.problems];
    },
    view: () => ({
      file: denied,
      prefixes,
      interfaces: interfaces.map((name) => ({ name, mode: modes.get(name) ?? "none" })),
      frames: framesOf(tables),
    }),
  };
}

interface AttachedAll {
  readonly modes: ReadonlyMap<string, XdpMode>;
  readonly problems: readonly Problem[];
}

async function attachAll({ attachments }: Kernel, interfaces: readonly string[]): Promise<AttachedAll> {
  const modes = new Map<string, XdpMode>();
  const indexes = new Set<number>();
  const problems: Problem[] = [];
  const problem = (name: string, reason: string): void => {
    problems.push({ severity: "error", object: `uplink ${name}`, reason, effect: NOTHING_DROPPED });
  };
  for (const name of interfaces) {
    try {
      const ifindex = indexOf(name);
      if (ifindex === undefined) {
        problem(name, "the interface does not exist");
        continue;
      }
      indexes.add(ifindex);
      const attached = await attachments.attachUplink(ifindex);
      if (attached.ok) modes.set(name, attached.mode);
      else problem(name, `it does not support XDP programs: ${attached.refused}`);
    } catch (error) {
      problem(name, messageOf(error));
    }
  }
  await attachments.detachOtherUplinks(indexes).catch((error: unknown) =>
    problems.push({
      severity: "error",
      reason: messageOf(error),
      effect: "the program is still attached to a former uplink",
    }),
  );
  return { modes, problems };
}

/** Removes the uplink state of an earlier agent. Errors: OperationError, BpfError. */
export async function dropUplinks({ attachments, maps }: Kernel): Promise<void> {
  await attachments.detachOtherUplinks(new Set());
  await writeDenied(maps.tables, []);
}

/** Frames by outcome, zeros included. */
function framesOf(tables: Parameters<typeof readScreened>[0]): Readonly<Record<string, number>> {
  const counts = readScreened(tables);
  return Object.fromEntries(
    Object.entries(SCREENED_NAMES).map(([number, name]) => [
      name,
      Number(counts[Number(number)]?.packets ?? 0n),
    ]),
  );
}

/** Undefined if there is no interface of this name. */
function indexOf(name: string): number | undefined {
  try {
    return Number(readFileSync(`/sys/class/net/${name}/ifindex`, "utf8"));
  } catch (error) {
    if (["ENOENT", "ENOTDIR", "EINVAL"].includes(codeOf(error) ?? "")) return undefined;
    throw error;
  }
}
