// The file of denied prefixes: read as a whole or not at all, and watched.

import type { BigIntStats } from "node:fs";
import { stat } from "node:fs/promises";
import { openFileWatcher } from "../base/file-watcher.ts";
import { type Cidr, cidrOf, type Parsed, parseAddress, parseCidr } from "../base/ip.ts";
import { mapInSlices } from "../base/slices.ts";
import type { Problem } from "../model/problem.ts";
import { type OpenForWriting, textOfFile } from "./manifests/manifest-files.ts";
import { EMPTY_MARK, hasEmptyMark } from "./manifests/manifest-reading.ts";
import { visible } from "./parse/fields.ts";

export type DeniedReading =
  /** Prefixes in canonical text, sorted, each once. */
  | { readonly ok: true; readonly prefixes: readonly string[]; readonly problems: readonly Problem[] }
  | {
      readonly ok: false;
      readonly problems: readonly Problem[];
      /** It is open for writing, and may be closed without another change. */
      readonly writing?: true;
    };

/** Wrong lines that are reported one by one. */
const PROBLEMS_MAX = 10;

const EFFECT = "the previous list stays in force";

/**
 * One prefix or address per line, of either family; "#" begins a comment. A line that cannot be read makes the whole
 * list unreadable: half a list would allow what the other half denies. So does an empty list that does not state that
 * this is meant: the file was truncated. `max` is the most prefixes that there may be.
 */
export async function parseDenied(text: string, file: string, max: number): Promise<DeniedReading> {
  const found = new Set<string>();
  const wrong: Problem[] = [];
  const warnings: Problem[] = [];
  await mapInSlices(text.split(/\r?\n/), (line, index) => {
    const entry = line.replace(/#.*$/, "").trim();
    if (entry === "") return;
    const parsed = parseEntry(entry);
    const at = { file: visible(file), line: index + 1 };
    if (!parsed.ok) {
      wrong.push({ severity: "error", ...at, reason: `${visible(entry)}: ${parsed.reason}`, effect: EFFECT });
      return;
    }
    found.add(parsed.value.text);
    if (parsed.value.length === 0) warnings.push({ severity: "warning", ...at, ...everyone(parsed.value) });
  });
  if (wrong.length > 0) return { ok: false, problems: shortened(wrong, file) };
  if (found.size === 0 && !hasEmptyMark(text)) {
    const fix = `to deny nothing, write the comment # ${EMPTY_MARK} into it`;
    const problem = {
      severity: "error",
      file: visible(file),
      reason: "is empty",
      fix,
      effect: EFFECT,
    } as const;
    return { ok: false, problems: [problem] };
  }
  if (found.size > max) {
    const reason = `${found.size} prefixes, at most ${max} are supported`;
    return { ok: false, problems: [{ severity: "error", file: visible(file), reason, effect: EFFECT }] };
  }
  return { ok: true, prefixes: [...found].sort(), problems: warnings };
}

function parseEntry(entry: string): Parsed<Cidr> {
  if (!entry.includes("/")) {
    const address = parseAddress(entry);
    if (!address.ok) return address;
    const { family, value } = address.value;
    return { ok: true, value: cidrOf(family, value, family === 4 ? 32 : 128) };
  }
  const cidr = parseCidr(entry);
  if (!cidr.ok || cidr.value.text === entry) return cidr;
  const address = parseAddress(entry.slice(0, entry.indexOf("/")));
  // Such a line is a mistake, or was cut short: 10.20.0.0/1 of 10.20.0.0/16 denies half of all addresses.
  if (address.ok && address.value.value !== cidr.value.value)
    return {
      ok: false,
      reason: `it has bits beyond its length; ${cidr.value.text} would be the whole prefix`,
    };
  return cidr;
}

const everyone = ({ family }: Cidr) => ({
  reason: `every IPv${family} source is denied`,
  effect: "on uplinks nothing of this family passes but ARP and neighbour discovery",
});

function shortened(wrong: readonly Problem[], file: string): Problem[] {
  const rest = wrong.length - PROBLEMS_MAX;
  if (rest <= 0) return [...wrong];
  const reason = `and ${rest} more lines that cannot be read`;
  return [
    ...wrong.slice(0, PROBLEMS_MAX),
    { severity: "error", file: visible(file), reason, effect: EFFECT },
  ];
}

export interface DeniedOptions {
  readonly max: number;
  /** Whether a file is open for writing: its list counts when it is closed. */
  readonly openForWriting?: OpenForWriting;
}

/** Reads the file. Never throws for what is in the file or the way to it. */
export async function readDenied(
  file: string,
  { max, openForWriting }: DeniedOptions,
): Promise<DeniedReading> {
  const read = await textOfFile(file, openForWriting);
  if (read.ok && read.writing !== true) return parseDenied(read.text, file, max);
  const reason = read.ok ? "is open for writing" : read.reason;
  return {
    ok: false,
    problems: [{ severity: "error", file: visible(file), reason, effect: EFFECT }],
    ...(read.ok ? { writing: true } : {}),
  };
}

/** How often the file is looked at without an event: by its name, since a symbolic link may lead to another directory. */
const LOOK_MS = 500;

export interface WatchDeniedOptions extends DeniedOptions {
  /**
   * Called first with what is in the file, and again whenever the file has changed and has then stayed as it is for
   * `lookMs`.
   */
  readonly onChange: (reading: DeniedReading) => void;
  readonly signal: AbortSignal;
  /** LOOK_MS if not given. */
  readonly lookMs?: number;
}

/** Watches the file until the signal aborts, and then resolves. */
export async function watchDenied(file: string, options: WatchDeniedOptions): Promise<void> {
  const { onChange, signal, lookMs = LOOK_MS } = options;
  const watcher = openFileWatcher(file, signal);
  let reported: string | undefined;
  let before: string | undefined;
  /** Events of other files in its directory wake it, too: that says nothing about how long the file has stayed so. */
  let changedAt = Number.NEGATIVE_INFINITY;
  /** Looks in a row at which it was open for writing. */
  let written = 0;
  try {
    while (!signal.aborted) {
      // A directory that cannot be watched is polled.
      await watcher.follow();
      const now = await signatureOf(file);
      // At the start there is no change to wait for: the file was written before the agent was started.
      if (before !== undefined && before !== now) changedAt = performance.now();
      const settled = performance.now() - changedAt >= lookMs - 1;
      before = now;
      if (settled && now !== reported) {
        const reading = await readDenied(file, options);
        // What changed while it was read is read at the next look.
        const isSame = (await signatureOf(file)) === now;
        written = !reading.ok && reading.writing === true ? written + 1 : 0;
        // A writer mostly closes it at once, which is nothing to report.
        if (isSame && (written === 0 || written === 2)) onChange(reading);
        // It may be closed without another change.
        if (isSame && written === 0) {
          reported = now;
          continue;
        }
      }
      await watcher.wait(lookMs);
    }
  } finally {
    watcher.close();
  }
}

const textOfStats = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(":");

const signatureOf = (file: string): Promise<string> =>
  stat(file, { bigint: true }).then(textOfStats, (error: unknown) => String(error));
