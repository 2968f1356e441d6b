// docs/policy-tests.md: its case is one of ours, and its output is the real one.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { ENGINE_NAMES } from "../../../src/engines/engine-names.ts";
import { type Folder, openFolder } from "./test-files.ts";
import { ROOT } from "./world.ts";

const NAME = "test/cases/seed-03-access-nginx.yaml";
const text = readFileSync(join(ROOT, "docs/policy-tests.md"), "utf8");
const example = readFileSync(join(ROOT, NAME), "utf8");
/** What a console block shows below its command. */
const shown = [...text.matchAll(/```console\n\$ [^\n]+\n([^`]+)```/g)].map(([, output = ""]) => output);

let folder: Folder;
beforeAll(() => {
  folder = openFolder();
});
afterAll(() => folder.close());

it("shows a case as it is", () => {
  expect(/```yaml\n(format|#)[\s\S]*?```/.exec(text)?.[0]).toBe(`\`\`\`yaml\n${example}\`\`\``);
  expect(text).toContain(NAME);
});

it("shows its output", async () => {
  const { stdout } = await folder.test("--engine", "plan", join(ROOT, NAME));
  expect(shown[0]?.replaceAll(/\d+\.\d+ s\b/g, "0 s")).toBe(stdout);
});

it("shows the output for an error in it", async () => {
  const mistaken = folder.write(
    "case.yaml",
    example.replace("{run: access}}\n    probe", "{run: acces}}\n    probe"),
  );
  const { exitCode, stdout } = await folder.test("--engine", "plan", mistaken);
  const [head = "", tail] = (shown[1] ?? "").replaceAll(/\d+\.\d+ s\b/g, "0 s").split("      …\n");
  expect(exitCode).toBe(1);
  expect(stdout.startsWith(head)).toBe(true);
  expect(stdout.endsWith(`\n${tail}`)).toBe(true);
});

it("lists the engines", () => {
  const rows = [...text.matchAll(/^\| `(\w+)`[^|]* \| /gm)].map(([, name]) => name);
  expect(rows).toEqual([...ENGINE_NAMES]);
});
