// Flow tables of another size are set aside with their secret, wherever an earlier attempt was killed.

import { existsSync, readdirSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { BpfMap } from "bpf-ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { ensurePinned, makeDirectory } from "../../src/datapath/bpffs.ts";
import { bucketsFor, FLOWS_MIN, type FlowBuckets } from "../../src/datapath/flow-capacity.ts";
import { ensureSecret, readSecret, setAside } from "../../src/datapath/flow-table-pins.ts";
import { earlierDirectory, MAP_NAMES, mapPath, preparePins } from "../../src/datapath/pins.ts";
import { MAPS } from "../../src/gen/layout.ts";

const NAMES = ["flow_secret", "conntrack_v4", "conntrack_v6"] as const;
type Name = (typeof NAMES)[number];

const ROOT = `/sys/fs/bpf/wt-resize-${process.pid}`;
const [BEFORE, AFTER] = [bucketsFor(FLOWS_MIN), bucketsFor(2 * FLOWS_MIN)];

beforeEach(() => preparePins(ROOT));
afterEach(() => rmSync(ROOT, { recursive: true, force: true }));

/** Pins new maps of this size; gives the ids, of the secret its content too. */
function pinMaps(buckets: FlowBuckets, names: readonly Name[]) {
  const ids = new Map<Name, number>();
  let entry = 0n;
  for (const name of names) {
    const { type, keySize, valueSize, flags } = MAPS[name];
    const maxEntries = name === "flow_secret" ? 1 : buckets[name];
    using map = BpfMap.create({ type, name: name.slice(0, 15), keySize, valueSize, flags, maxEntries });
    if (name === "flow_secret") {
      ensureSecret(map, buckets);
      entry = readSecret(map).entry;
    }
    ensurePinned("map", map, mapPath(ROOT, name));
    ids.set(name, map.info.id);
  }
  return { ids, entry };
}

function idAt(path: string): number {
  using map = BpfMap.openPinned(path);
  return map.info.id;
}

/** What has been set aside: for each directory the ids of its maps. */
const aside = (): ReadonlyMap<Name, number>[] =>
  existsSync(earlierDirectory(ROOT))
    ? readdirSync(earlierDirectory(ROOT)).map((directory) => {
        const at = (name: Name) => join(earlierDirectory(ROOT), directory, name);
        return new Map(NAMES.filter((name) => existsSync(at(name))).map((name) => [name, idAt(at(name))]));
      })
    : [];

const pinned = (): Name[] => NAMES.filter((name) => existsSync(mapPath(ROOT, name)));

/** As setAside() moves them. */
function moveFirst(count: number): void {
  const directory = join(earlierDirectory(ROOT), String(idAt(mapPath(ROOT, "flow_secret"))));
  makeDirectory(directory);
  for (const name of NAMES.slice(0, count)) renameSync(mapPath(ROOT, name), join(directory, name));
}

describe("tables of another size", () => {
  it("are set aside together; those of the same size stay", () => {
    const before = pinMaps(BEFORE, NAMES);
    setAside(ROOT, BEFORE);
    expect([pinned(), aside()]).toEqual([[...NAMES], []]);
    setAside(ROOT, AFTER);
    expect([pinned(), aside()]).toEqual([[], [before.ids]]);
  });

  it.each([AFTER, BEFORE])("are set aside together after a kill at any of the moves: %o", (wanted) => {
    for (let moved = 0; moved <= NAMES.length; moved++) {
      const before = pinMaps(BEFORE, NAMES);
      moveFirst(moved);
      setAside(ROOT, wanted);
      // Before the first move they can still be used as they are.
      const isKept = moved === 0 && wanted === BEFORE;
      expect(pinned(), `${moved} moved`).toEqual(isKept ? [...NAMES] : []);
      if (!isKept) {
        expect(aside(), `${moved} moved`).toEqual([before.ids]);
        const [directory = ""] = readdirSync(earlierDirectory(ROOT));
        using secret = BpfMap.openPinned(join(earlierDirectory(ROOT), directory, "flow_secret"));
        expect(readSecret(secret).entry).toBe(before.entry);
      }
      rmSync(ROOT, { recursive: true });
      preparePins(ROOT);
    }
  });

  it("leave no new table without its secret after a kill while the new maps are pinned", () => {
    const order = MAP_NAMES.filter((name): name is Name => (NAMES as readonly string[]).includes(name));
    for (let made = 0; made <= order.length; made++) {
      const before = pinMaps(BEFORE, NAMES);
      setAside(ROOT, AFTER);
      pinMaps(AFTER, order.slice(0, made));
      setAside(ROOT, AFTER);
      expect(aside(), `${made} made`).toEqual([before.ids]);
      const left = pinned();
      expect(left.length === 0 || left.includes("flow_secret"), `${made} made: ${left.join()}`).toBe(true);
      rmSync(ROOT, { recursive: true });
      preparePins(ROOT);
    }
  });

  it("are each beside their own secret after two changes", () => {
    const first = pinMaps(BEFORE, NAMES);
    setAside(ROOT, AFTER);
    const second = pinMaps(AFTER, NAMES);
    moveFirst(2);
    setAside(ROOT, BEFORE);
    const bySecret = (each: ReadonlyMap<Name, number>) => each.get("flow_secret") ?? 0;
    expect(aside().sort((a, b) => bySecret(a) - bySecret(b))).toEqual([first.ids, second.ids]);
  });
});
