// The table printer and the texts that go into cells.

import { describe, expect, it } from "vitest";
import {
  countText,
  durationText,
  left,
  printable,
  right,
  someOf,
  tableText,
} from "../../../src/observe/text-output.ts";

const TABLE = {
  columns: [left("NAME"), right("PACKETS"), left("STATE")],
  rows: [
    ["alpha", "7", "enforced"],
    ["b", "12345678", ""],
  ],
};

describe("tableText", () => {
  it("separates columns by spaces, numbers to the right, without spaces at the end", () => {
    expect(tableText(TABLE)).toBe(
      ["NAME     PACKETS   STATE", "alpha          7   enforced", "b       12345678   -", ""].join("\n"),
    );
  });

  it("leaves out the titles, and then reserves no width for them", () => {
    const narrow = { columns: [left("A LONG TITLE"), left("B")], rows: [["x", "y"]] };
    expect(tableText(narrow, false)).toBe("x   y\n");
    expect(tableText({ ...narrow, rows: [] }, false)).toBe("");
  });

  it("prints the titles alone if there is no row", () => {
    expect(tableText({ ...TABLE, rows: [] })).toBe("NAME   PACKETS   STATE\n");
  });

  it("counts a character outside the basic plane once", () => {
    const text = tableText(
      {
        columns: [left("A"), left("B")],
        rows: [
          ["𝒳𝒳", "1"],
          ["yy", "2"],
        ],
      },
      false,
    );
    expect(text).toBe("𝒳𝒳   1\nyy   2\n");
  });

  it("prints a hundred thousand rows", () => {
    const rows = Array.from({ length: 100_000 }, (_, at) => [String(at), "x"]);
    expect(tableText({ columns: [right("N"), left("X")], rows }).split("\n")).toHaveLength(100_002);
  });

  it("lets no cell control the terminal or start a line", () => {
    const text = tableText({ columns: [left("A")], rows: [["\u001b[2Jx\ny\u202e"]] }, false);
    expect(text).toBe("\\u{1b}[2Jx\\u{a}y\\u{202e}\n");
  });
});

describe("texts", () => {
  it.each([
    [0, "0s"],
    [-5_000, "0s"],
    [59_999, "59s"],
    [60_000, "1m"],
    [725_000, "12m5s"],
    [3_600_000 * 26 + 5_000, "1d2h"],
    [86_400_000, "1d"],
    [3_605_000, "1h"],
  ])("a duration of %d ms is %s", (milliseconds, text) => {
    expect(durationText(milliseconds)).toBe(text);
  });

  it("count with a noun", () => {
    expect([0, 1, 2].map((count) => countText(count, "pod"))).toEqual(["0 pods", "1 pod", "2 pods"]);
    expect([1, 2].map((count) => countText(count, "policy", "policies"))).toEqual(["1 policy", "2 policies"]);
  });

  it("shorten a list and show by how much", () => {
    expect(someOf(["a", "b"], 2, ",")).toBe("a,b");
    expect(someOf(["a", "b", "c", "d"], 2, ",")).toBe("a,b,and 2 more");
  });

  it("do not change names", () => {
    expect(printable("alpha/näme-1 (日本)")).toBe("alpha/näme-1 (日本)");
  });
});
