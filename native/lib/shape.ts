// Compares a map as an object declares it with one that exists.
import { MapFlag, MapType } from "./constants.ts";
import type { RawMapSpec } from "./native.ts";

type Shape = Omit<RawMapSpec, "name">;

/** Why `actual` cannot replace `wanted`, as "valueSize 8 instead of 4"; empty if nothing does. */
export function shapeDifferences(wanted: Shape, actual: Shape): string[] {
  const fields = ["type", "keySize", "valueSize", "maxEntries", "flags"] as const;
  const shape = comparable(actual);
  return fields
    .filter((field) => shape[field] !== wanted[field] && !(field === "maxEntries" && wanted.maxEntries === 0))
    .map((field) => `${field} ${shape[field]} instead of ${wanted[field]}`);
}

/** The kernel adds a flag to device maps by itself. */
function comparable(shape: Shape): Shape {
  const device = shape.type === MapType.DEVMAP || shape.type === MapType.DEVMAP_HASH;
  return device ? { ...shape, flags: shape.flags & ~MapFlag.RDONLY_PROG } : shape;
}
