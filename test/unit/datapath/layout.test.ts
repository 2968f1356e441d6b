// The active layout: the built object, the generated module and the constants of the pure folders agree.

import { fileURLToPath } from "node:url";
import { BpfObject } from "bpf-ts";
import { describe, expect, it } from "vitest";
import { DIRECTIONS as DIRECTION_LIST } from "../../../src/base/direction.ts";
import { checkLayout } from "../../../src/datapath/layout-checks.ts";
import * as gen from "../../../src/gen/layout.ts";
import * as state from "../../../src/state/desired-state.ts";
import { anchor, compiler, mapOf } from "./objects.ts";

const built = fileURLToPath(new URL("../../../bpf/build/filter.bpf.o", import.meta.url));
const { object } = compiler();
const byName = (a: { name: string }, b: { name: string }): number => (a.name < b.name ? -1 : 1);

describe("checkLayout", () => {
  it("accepts the built object", () => {
    using filter = BpfObject.open(built);
    checkLayout(filter, built);
  });

  it("refuses another, naming both digests and what to do", () => {
    using other = BpfObject.open(object(mapOf("__u32")));
    expect(() => checkLayout(other, "other.o")).toThrow(
      new RegExp(
        `^check the layout of other\\.o: its digest is [0-9a-f]{16}, but .* ${gen.LAYOUT_DIGEST}; .*npm run build$`,
      ),
    );
  });

  it("refuses one without types", () => {
    expect(() => checkLayout({ btf: undefined }, "bare.o")).toThrow(
      "bare.o: the object was built without BTF",
    );
  });
});

describe("the maps", () => {
  it("are those that libbpf finds in the object: the anchor of the constants is none", () => {
    using filter = BpfObject.open(built);
    const shapes = Object.values(gen.MAPS).map(({ name, type, keySize, valueSize, maxEntries, flags }) => {
      return { name, type, keySize, valueSize, maxEntries, flags };
    });
    // .rodata has the constants that the loader sets before it loads, as node_netns.
    const maps = filter.maps.filter(({ name }) => name !== ".rodata");
    expect(maps.sort(byName)).toEqual(shapes.sort(byName));
  });

  it("are the subject of a loader's error, not the section of the constants that it skips", () => {
    const code = `struct { __uint(type, 1); __uint(nonsense, 1); } m SEC(".maps"); ${anchor("__u32 a;")}`;
    expect(() => BpfObject.open(object(code))).toThrow("unknown field 'nonsense'");
  });
});

describe("the constants", () => {
  it("that state/ defines for itself are the kernel program's", () => {
    expect(state.ROW_NOTHING).toBe(gen.ROW_NOTHING);
    expect(state.ROW_ALL).toBe(gen.ROW_ALL);
    expect(state.PORT_LINE_OTHER).toBe(gen.PORT_LINE_OTHER);
    expect(state.PORT_LINE_SIZE).toBe(gen.MAPS.ports.maxEntries);
  });

  it("count what they say they count", () => {
    expect(gen.DIRECTIONS).toBe(Object.keys(gen.Direction).length);
    expect(DIRECTION_LIST).toEqual(Object.values(gen.DIRECTION_NAMES));
    expect(gen.TIMEOUTS).toBe(Object.keys(gen.TIMEOUT_NAMES).length);
    expect(gen.REASONS).toBeGreaterThan(Math.max(...Object.values(gen.Reason)));
    expect(gen.ENDPOINTS_PLACES).toBe(gen.MAPS.endpoints.maxEntries);
    // The program computes the remainder with a mask.
    expect(Number.isInteger(Math.log2(gen.ENDPOINTS_PLACES))).toBe(true);
  });

  it("name every reason in words, the ones that drop from DROPS on", () => {
    expect(gen.REASON_NAMES[gen.Reason.NOT_ISOLATED]).toBe("not-isolated");
    expect(gen.REASON_NAMES[gen.Reason.DROPS]).toBe("denied");
    expect(gen.FLOW_STATE_NAMES[gen.FlowState.FIN_OPENER]).toBe("fin-opener");
  });
});
