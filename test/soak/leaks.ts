// What an agent holds, and what it leaves: descriptors, BPF objects by their ids, pins, links, qdiscs, memory.

import { spawnSync } from "node:child_process";
import { existsSync, readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { attachedPrograms } from "bpf-ts";

export interface Held {
  /** Descriptors by what they are. */
  readonly descriptors: Readonly<Record<string, number>>;
  /** Ids of BPF objects, as "map 7". */
  readonly objects: readonly string[];
  readonly rssMiB: number;
  /** The most that it has ever had. */
  readonly peakMiB: number;
}

/** Descriptors that come and go with connections and reads. */
const PASSING = new Set(["socket", "file", "pipe"]);

export function heldBy(pid: number): Held {
  const descriptors: Record<string, number> = {};
  const objects: string[] = [];
  for (const fd of readdirSync(`/proc/${pid}/fdinfo`)) {
    let info = "";
    try {
      info = readFileSync(`/proc/${pid}/fdinfo/${fd}`, "latin1");
    } catch {
      // It has been closed meanwhile.
      continue;
    }
    const id = /^(map|prog|link|btf)_id:\s*(\d+)/m.exec(info);
    // A link shows the id of its program too.
    const link = /^link_id:\s*(\d+)/m.exec(info);
    const kind = link !== null ? "link" : (id?.[1] ?? kindOf(pid, fd));
    descriptors[kind] = (descriptors[kind] ?? 0) + 1;
    if (link !== null) objects.push(`link ${link[1]}`);
    else if (id !== null && id[1] !== "btf") objects.push(`${id[1]} ${id[2]}`);
  }
  const status = readFileSync(`/proc/${pid}/status`, "latin1");
  const mib = (field: string): number =>
    Number(new RegExp(`^${field}:\\s*(\\d+)`, "m").exec(status)?.[1] ?? 0) / 1_024;
  return { descriptors, objects, rssMiB: mib("VmRSS"), peakMiB: mib("VmHWM") };
}

function kindOf(pid: number, fd: string): string {
  const target = spawnSync("readlink", [`/proc/${pid}/fd/${fd}`], { encoding: "utf8" }).stdout.trim();
  if (target.startsWith("socket:")) return "socket";
  if (target.startsWith("pipe:")) return "pipe";
  return target.startsWith("anon_inode:") ? target : "file";
}

/** Descriptors that one has more of than the other, but for those that come and go. */
export function descriptorsBeyond(more: Held, fewer: Held): string[] {
  return Object.entries(more.descriptors).flatMap(([kind, count]) => {
    const beyond = count - (fewer.descriptors[kind] ?? 0);
    return !PASSING.has(kind) && beyond > 0 ? [`${beyond} descriptors of kind ${kind}`] : [];
  });
}

/** All files below a directory. */
export function filesBelow(directory: string): string[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true }).flatMap((entry) =>
    entry.isDirectory() ? filesBelow(join(directory, entry.name)) : [join(directory, entry.name)],
  );
}

/** Those of the BPF objects that the kernel still has. */
export function stillThere(objects: Iterable<string>): string[] {
  const there = new Set(
    ["map", "prog", "link"].flatMap((type) => {
      const { stdout } = spawnSync("bpftool", ["-j", type, "show"], {
        encoding: "utf8",
        maxBuffer: 1 << 28,
      });
      return (JSON.parse(stdout) as { readonly id: number }[]).map(({ id }) => `${type} ${id}`);
    }),
  );
  return [...objects].filter((text) => there.has(text));
}

/**
 * Interfaces with filters in a clsact qdisc. An empty one stays where a fault has removed, with the pins, the record that it is
 * Weir's.
 */
export function clsactInterfaces(prefix: string): string[] {
  const tc = (...args: readonly string[]): string => spawnSync("tc", args, { encoding: "utf8" }).stdout;
  const hasFilters = (line: string): boolean => {
    const device = / dev (\S+)/.exec(line)?.[1] ?? "";
    return ["ingress", "egress"].some((hook) => tc("filter", "show", "dev", device, hook).trim() !== "");
  };
  return tc("qdisc", "show")
    .split("\n")
    .filter((line) => line.startsWith("qdisc clsact") && line.includes(` dev ${prefix}-`))
    .filter(hasFilters);
}

const DIRECTIONS = ["ingress", "egress"] as const;

/** Which of these interfaces have no program in one of the directions, as the kernel says. */
export async function unfiltered(names: readonly string[]): Promise<string[]> {
  const ifindexes = names.map((name) => Number(readFileSync(`/sys/class/net/${name}/ifindex`, "latin1")));
  const at = (kind: "tcx" | "clsact") =>
    attachedPrograms(
      ifindexes.flatMap((ifindex) => DIRECTIONS.map((direction) => ({ kind, ifindex, direction }))),
    );
  // Before Linux 6.6 there is no tcx; and an agent may not see that there is (kernel-faults.ts).
  const [tcx, clsact] = [await at("tcx").catch(() => []), await at("clsact")];
  const isEmpty = (place: number): boolean =>
    [tcx, clsact].every((found) => (found[place] ?? []).length === 0);
  return names.filter((_, index) => [0, 1].some((which) => isEmpty(2 * index + which)));
}
