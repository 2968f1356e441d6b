// Pins as the last version left them that kept flows in LRU hashes of the kernel: lru-layout.json is the description that it pinned.

import { readFileSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { BpfMap, MapType } from "bpf-ts";
import { makeDirectory } from "../../src/datapath/bpffs.ts";
import { type FieldType, sizeOf } from "../../src/datapath/btf-types.ts";
import { readFlows } from "../../src/datapath/flow-reader.ts";
import type { LayoutRecord } from "../../src/datapath/layout-record.ts";
import { layoutRecordPath, openPins, otherMapPath } from "../../src/datapath/pins.ts";
import { tableOf } from "../../src/datapath/typed-maps.ts";

const RECORD = JSON.parse(readFileSync(new URL("lru-layout.json", import.meta.url), "utf8")) as LayoutRecord;
export const LRU_DIGEST = "91226ff75b989c07";

/** The layout calls it `flow`. */
interface LruFlow {
  readonly expires: bigint;
  readonly generation: number;
  readonly opener: number;
  readonly state: number;
}

type Value = number | bigint | readonly Value[] | { readonly [field: string]: Value };

/** Moves what is pinned under a root, by this build, to pins of that version. Returns the number of flows. */
export function becomeLruLayout(root: string): number {
  const pins = openPins(root);
  if (pins === undefined) throw new Error("nothing is pinned");
  const node = tableOf("node", pins.map("node")).get(0);
  if (node === undefined) throw new Error("the node has no settings");
  const endpoints = tableOf("endpoints", pins.map("endpoints"));
  const places = Array.from({ length: endpoints.maxEntries }, (_, place) => place);
  const flows = [...readFlows(pins.map, node)];
  const lru = (name: "conntrack_v4" | "conntrack_v6") =>
    flows.flatMap(({ map, key, flow }): [Value, Value][] =>
      map === name ? [[key as unknown as Value, flow satisfies LruFlow as unknown as Value]] : [],
    );
  makeDirectory(dirname(otherMapPath(root, LRU_DIGEST, "node")));
  pinMap(root, "node", { type: MapType.ARRAY, maxEntries: 1 }, [[0, node as unknown as Value]]);
  const all = places.map((place): [Value, Value] => [place, endpoints.get(place) as unknown as Value]);
  pinMap(root, "endpoints", { type: MapType.ARRAY, maxEntries: all.length }, all);
  for (const name of ["conntrack_v4", "conntrack_v6"] as const)
    pinMap(root, name, { type: MapType.LRU_HASH, maxEntries: 65_536 }, lru(name));
  pinRecord(root);
  pins.close();
  rmSync(join(root, pins.digest), { recursive: true });
  return flows.length;
}

function pinMap(
  root: string,
  name: "node" | "endpoints" | "conntrack_v4" | "conntrack_v6",
  spec: { readonly type: number; readonly maxEntries: number },
  entries: readonly (readonly [Value, Value])[],
): void {
  const element = RECORD.maps[name];
  if (element === undefined) throw new Error(`the layout has no map ${name}`);
  const sizes = { keySize: sizeOf(element.key), valueSize: sizeOf(element.value) };
  using map = BpfMap.create({ name: "wt_lru", ...spec, ...sizes });
  for (const [key, value] of entries) map.update(encoded(element.key, key), encoded(element.value, value));
  map.pin(otherMapPath(root, LRU_DIGEST, name));
}

function pinRecord(root: string): void {
  const text = Buffer.from(JSON.stringify(RECORD));
  const sizes = { keySize: 4, valueSize: text.length, maxEntries: 1 };
  using map = BpfMap.create({ type: MapType.ARRAY, name: "weir_layout", ...sizes });
  map.update(new Uint8Array(4), text);
  map.pin(layoutRecordPath(root, LRU_DIGEST));
}

function encoded(type: FieldType, value: Value): Buffer {
  const bytes = Buffer.alloc(sizeOf(type));
  encode(type, value, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
  return bytes;
}

const camelCase = (name: string): string =>
  name.replaceAll(/_([a-z0-9])/g, (_, letter: string) => letter.toUpperCase());

/** The inverse of decode in src/datapath/layout-record.ts; reserved fields stay zero. */
function encode(type: FieldType, value: Value, view: DataView, offset: number): void {
  switch (type.kind) {
    case "integer": {
      const little = type.order === "host";
      if (type.bytes === 8) view.setBigUint64(offset, BigInt(value as number), little);
      else if (type.bytes === 4) view.setUint32(offset, value as number, little);
      else if (type.bytes === 2) view.setUint16(offset, value as number, little);
      else view.setUint8(offset, value as number);
      return;
    }
    case "enum":
      encode(type.underlying, value, view, offset);
      return;
    case "array":
      for (const [at, each] of (value as readonly Value[]).entries())
        encode(type.element, each, view, offset + at * sizeOf(type.element));
      return;
    case "struct":
      for (const field of RECORD.structs[type.name]?.fields ?? []) {
        if (field.name.startsWith("reserved")) continue;
        const part = (value as { readonly [field: string]: Value })[camelCase(field.name)];
        if (part === undefined) throw new Error(`struct ${type.name} has no ${field.name} here`);
        encode(field.type, part, view, offset + field.offset);
      }
  }
}
