// The report of the findings of `weir check node`.
import { expect, it } from "vitest";
import { checkSummary, checkTable, type Finding } from "../../../src/cli/preflight-report.ts";
import { tableText } from "../../../src/observe/text-output.ts";
import { lines } from "../observe/lines.ts";

const FINDINGS: Finding[] = [
  { check: "kernel", state: "ok", detail: "Linux 6.18" },
  { check: "hook", state: "fallback", detail: "clsact filters" },
];

it("a table, and one sentence", () => {
  expect(tableText(checkTable(FINDINGS)).trimEnd().split("\n")).toEqual(
    lines(`
      CHECK    STATE      DETAIL
      kernel   ok         Linux 6.18
      hook     fallback   clsact filters`),
  );
  expect(checkSummary(FINDINGS)).toBe("Weir can enforce here: 1 ok, 1 fallback");
  const missing: Finding = { check: "privilege", state: "missing", detail: "run it as root" };
  expect(checkSummary([...FINDINGS, missing])).toBe("Weir cannot enforce here: 1 ok, 1 fallback, 1 missing");
});
