// The log: setting the level while it runs, and the recent lines.
import { expect, test } from "vitest";
import { openLog } from "../../../src/base/log.ts";

const open = (format: "text" | "json" = "text") => {
  const lines: string[] = [];
  let seconds = 0;
  const log = openLog({
    level: "info",
    format,
    write: (line) => lines.push(line),
    now: () => new Date(Date.UTC(2025, 0, 1, 0, 0, seconds++)),
  });
  return { log, lines };
};

test("setting the level takes effect with the next message", () => {
  const { log, lines } = open();
  log.debug("unheard");
  log.setLevel("debug");
  log.debug("heard");
  log.setLevel("error");
  log.warn("unheard");
  expect(lines).toEqual(["2025-01-01T00:00:00.000Z debug heard\n"]);
  expect(log.level()).toBe("error");
});

test("the latest lines are kept as text, whatever the format", () => {
  const { log, lines } = open("json");
  log.info("enforcing", { generation: 1 });
  expect(JSON.parse(lines[0] ?? "")).toMatchObject({ message: "enforcing", generation: 1 });
  expect(log.recent()).toEqual(["2025-01-01T00:00:00.000Z info  enforcing generation=1"]);
  for (let at = 0; at < 1_500; at++) log.warn("again", { at });
  expect(log.recent()).toHaveLength(1_000);
  expect(log.recent().at(-1)).toContain("again at=1499");
});
