// `weir test`: which files it takes for cases, and how it handles those that cannot be read.
import { mkdirSync, symlinkSync } from "node:fs";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type Folder, openFolder, SHOP } from "./test-files.ts";

let folder: Folder;
beforeEach(() => {
  folder = openFolder();
});
afterEach(() => folder.close());

const withId = (id: string): string => SHOP.replace("id: shop/web", `id: ${id}`);

const idsIn = (stdout: string): string[] =>
  [...stdout.matchAll(/^(?:ok|FAIL) +(\S+?):? /gm)].map(([, id]) => id ?? "");

describe("a directory", () => {
  it("means all cases below it, in the order of names, and nothing else", async () => {
    folder.write("b.yml", withId("b"));
    folder.write("a/2.yaml", withId("a2"));
    folder.write("a/1.yaml", withId("a1"));
    folder.write("c.json", JSON.stringify({ format: "np-conformance/1" }));
    folder.write("schema.json", JSON.stringify({ properties: { format: { const: "np-conformance/1" } } }));
    folder.write("policy.yaml", "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\n");
    folder.write("README.md", "```yaml\nformat: np-conformance/1\n```\n");
    folder.write("notes.txt", SHOP);
    folder.write(".hidden.yaml", SHOP);
    folder.write(".git/case.yaml", SHOP);
    const { exitCode, stdout } = await folder.test(folder.path);
    expect(idsIn(stdout)).toEqual(["a1", "a2", "b", "DIR/c.json"]);
    expect(exitCode).toBe(1);
  });

  it("may hold links, in a circle too", async () => {
    folder.write("cases/one.yaml", SHOP);
    folder.write("elsewhere/two.yaml", withId("two"));
    symlinkSync("../elsewhere", join(folder.path, "cases/linked"));
    symlinkSync("../cases", join(folder.path, "elsewhere/back"));
    expect(idsIn((await folder.test(join(folder.path, "cases"))).stdout)).toEqual(["two", "shop/web"]);
  });

  it("with a case that cannot be read has a failure", async () => {
    folder.write("one.yaml", SHOP);
    symlinkSync("nowhere", join(folder.path, "two.yaml"));
    const { exitCode, stdout } = await folder.test(folder.path);
    expect(exitCode).toBe(1);
    expect(stdout).toContain("FAIL  DIR/two.yaml (unreadable)\n      DIR/two.yaml: does not exist\n");
  });

  it("without any case is a failure, since a user who names it expects one", async () => {
    mkdirSync(join(folder.path, "empty"));
    const { exitCode, stdout } = await folder.test(join(folder.path, "empty"));
    expect(exitCode).toBe(1);
    expect(stdout).toBe(`FAIL  DIR/empty (unreadable)
      DIR/empty: contains no case (.json, .yaml or .yml with format: np-conformance/1)

1 case, 0 steps on oracle in 0 s
0 passed, 1 failed
`);
  });
});

describe("a file that is named", () => {
  it.each([
    ["is not there", undefined, "DIR/case.yaml: does not exist"],
    [
      "is something else",
      "kind: NetworkPolicy\n",
      "DIR/case.yaml: is not a case: it has no format: np-conformance/1",
    ],
    ["is empty", "", "DIR/case.yaml: is not a case: it has no format: np-conformance/1"],
    [
      "is of another version",
      SHOP.replace("conformance/1", "conformance/2"),
      "DIR/case.yaml:1:1: format: expected np-conformance/1; the case is not run",
    ],
    ["is not YAML", `${SHOP}\n  - [`, /^DIR\/case\.yaml:\d+:\d+: not valid YAML: /],
    [
      "contradicts itself",
      SHOP.replace("name: frontend, labels", "name: front, labels"),
      /^DIR\/case\.yaml:27:29: steps\[0\]\.expected\.endpoints\[1\]: "shop\/frontend" is not there/,
    ],
    [
      "holds a policy that the API server refuses",
      SHOP.replace("{port: 8080}", "{port: 80800}"),
      /ports\[0\]\.port: .*; the case is not run$/,
    ],
    [
      "holds a ClusterNetworkPolicy that the API server refuses",
      SHOP.replace(
        "networking.k8s.io/v1\n          kind: NetworkPolicy",
        "policy.networking.k8s.io/v1alpha2\n          kind: ClusterNetworkPolicy",
      ),
      /^DIR\/case\.yaml:\d+:\d+: steps\[0\]\.actions\[0\]\.object\.spec\.podSelector: unknown field/,
    ],
  ])("and %s counts as one failure, with the reason", async (_, text, reason) => {
    const file = join(folder.path, "case.yaml");
    if (text !== undefined) folder.write("case.yaml", text);
    const { exitCode, stdout, stderr } = await folder.test(
      "-o",
      "json",
      file,
      folder.write("good.yaml", SHOP),
    );
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "" });
    const { cases, steps, passed, failed, failures } = JSON.parse(stdout);
    expect({ cases, steps, passed, failed }).toEqual({ cases: 2, steps: 2, passed: 18, failed: 1 });
    const [failure] = failures;
    expect(failure).toMatchObject({
      case: "DIR/case.yaml",
      step: null,
      from: null,
      to: null,
      protocol: null,
      port: null,
      expected: "a case",
      got: "unreadable",
    });
    const [first = ""] = failure.why.split("\n");
    if (typeof reason === "string") expect(first).toBe(reason);
    else expect(first).toMatch(reason);
  });

  it("is taken whatever its extension", async () => {
    expect((await folder.test(folder.write("case.txt", SHOP))).exitCode).toBe(0);
  });

  it("may warn of something and pass", async () => {
    const file = folder.write(
      "case.yaml",
      SHOP.replace(
        "spec: {podSelector: {matchLabels: {app: web}}, policyTypes: [Ingress]}",
        "spec: {podSelector: {matchLabels: {app: web}}, egress: []}",
      ),
    );
    const { exitCode, stdout } = await folder.test(file);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      /\n {6}note: warning: DIR\/case\.yaml:\d+:\d+: .*spec\.egress: is empty and policyTypes is missing/,
    );
  });
});
