// docs/lint.md against the program: the same codes, and examples with the findings that it states.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Readable } from "node:stream";
import { describe, expect, it } from "vitest";
import { parse } from "yaml";
import { WARNING_CODES } from "../../../src/model/problem.ts";
import { ROOT, runIn } from "./world.ts";

const text = readFileSync(join(ROOT, "docs/lint.md"), "utf8");
const codesSection = text.slice(text.indexOf("\n## Codes\n"));
const [, world = ""] = /```yaml\n([\s\S]*?)```/.exec(codesSection) ?? [];
const rows = [...codesSection.matchAll(/^\| `([a-z-]+)` \| (.+?) \| (.+?) \| (.+?) \|$/gm)].map(
  ([, code = "", matter = "", example = "", instead = ""]) => ({ code, matter, example, instead }),
);

/** The part of a spec that a cell shows, or undefined if it shows something else. */
function specIn(cell: string): Record<string, unknown> | undefined {
  const [, fragment] = /^`((?:podSelector|policyTypes|ingress|egress|tier): .*)`$/.exec(cell) ?? [];
  if (fragment === undefined) return undefined;
  const spec = parse(`{ ${fragment} }`);
  return "tier" in spec
    ? { priority: 10, subject: { namespaces: {} }, ...spec }
    : { podSelector: {}, ...spec };
}

async function codesOf(spec: Record<string, unknown>): Promise<readonly string[]> {
  const policy = JSON.stringify(
    "tier" in spec
      ? {
          apiVersion: "policy.networking.k8s.io/v1alpha2",
          kind: "ClusterNetworkPolicy",
          metadata: { name: "example" },
          spec,
        }
      : {
          apiVersion: "networking.k8s.io/v1",
          kind: "NetworkPolicy",
          metadata: { name: "example", namespace: "shop" },
          spec,
        },
  );
  const stdin = () => Readable.from([Buffer.from(`${world}---\n${policy}\n`)]);
  const { stdout } = await runIn(["lint", "-f", "-", "-o", "json"], { stdin });
  const { errors, warnings } = JSON.parse(stdout);
  expect(errors).toEqual([]);
  return warnings.map(({ code }: { code: string }) => code);
}

describe("docs/lint.md", () => {
  it("explains each code once, in the order of the program", () => {
    expect(rows.map(({ code }) => code)).toEqual(WARNING_CODES);
    for (const { matter, example, instead } of rows)
      for (const cell of [matter, example, instead]) expect(cell).toMatch(/\S/);
  });

  const shown = rows.filter(({ example }) => specIn(example) !== undefined);
  it("shows most by an example", () => expect(shown.length).toBeGreaterThan(WARNING_CODES.length - 8));

  it.each(shown)(
    "$code is found in its example, and not in its correction",
    async ({ code, example, instead }) => {
      const [bad, good] = [specIn(example), specIn(instead)];
      if (bad === undefined || good === undefined) throw new Error(`no spec: ${example}, ${instead}`);
      expect(await codesOf(bad)).toContain(code);
      expect(await codesOf(good)).not.toContain(code);
    },
  );

  it("shows the JSON as it is", async () => {
    const [, json = ""] = /```json\n([\s\S]*?)```/.exec(text) ?? [];
    const { warnings } = JSON.parse(json);
    const { stdout } = await runIn(["lint", "-f", "test/fixtures/lint/opens-all.bad.yaml", "-o", "json"]);
    const real = JSON.parse(stdout);
    expect(Object.keys(JSON.parse(json))).toEqual(Object.keys(real));
    expect(Object.keys(warnings[0]).sort()).toEqual(Object.keys(real.warnings[0]).sort());
  });
});
