// Tables that leave out columns, or cut the last one, to fit; also endless ones, by their first rows.
import { expect, it } from "vitest";
import {
  cuttable,
  fitted,
  left,
  right,
  spare,
  spareRight,
  tableText,
  tableTexts,
} from "../../../src/observe/text-output.ts";

const COLUMNS = [left("NAME"), spare("FIRST", 2), spareRight("COUNT", 1), right("SIZE")];
const ROWS = [["a".repeat(10), "b".repeat(10), "1", "2"]];
/** Widths are 10, 10, 5 and 4, with three gaps of 3. */
const WHOLE = 38;

it.each([
  [WHOLE, "NAME         FIRST        COUNT   SIZE"],
  [WHOLE - 1, "NAME         COUNT   SIZE"],
  [24, "NAME         SIZE"],
  [1, "NAME         SIZE"],
])("in %i columns the heading is %s", (width, heading) => {
  const table = { columns: COLUMNS, rows: ROWS };
  expect(tableText(fitted(table, width)).split("\n")[0]).toBe(heading);
  const options = { headers: true, window: 1_000, fit: width };
  expect([...tableTexts(COLUMNS, ROWS, options)].join("")).toBe(tableText(fitted(table, width)));
});

it("keeps the columns of the first rows for all that follow", () => {
  const rows = [...ROWS, ["c".repeat(40), "d", "3", "4"]];
  const text = [...tableTexts(COLUMNS, rows, { headers: true, window: 2, fit: WHOLE })].join("");
  expect(text.split("\n").map((line) => line.split(/ +/).length)).toEqual([4, 4, 4, 1]);
});

it("cuts the last column, where it may, and never below twenty", () => {
  const table = { columns: [left("NODE"), cuttable("DETAIL")], rows: [["n", "x".repeat(50)]] };
  const detail = (width: number) => fitted(table, width).rows[0]?.[1];
  expect(detail(57)).toBe("x".repeat(50));
  expect(detail(40)).toBe(`${"x".repeat(32)}…`);
  expect(detail(1)).toBe(`${"x".repeat(19)}…`);
});
