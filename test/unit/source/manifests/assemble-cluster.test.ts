// Manifests on disk: which files are read, what is refused, and duplicates across files.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, test } from "vitest";
import { problemText } from "../../../../src/model/problem.ts";
import { PROBLEMS_PER_FILE_MAX } from "../../../../src/source/manifests/assemble-cluster.ts";
import { FILE_BYTES_MAX, lookAt, STAMP_SETTLED_MS } from "../../../../src/source/manifests/manifest-files.ts";
import { readManifests } from "../../../../src/source/manifests/manifest-watch.ts";
import { PROBLEMS_PER_OBJECT_MAX } from "../../../../src/source/parse/parse-document.ts";
import { policyYaml } from "../support.ts";

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), "wt-manifests-"));
});
afterEach(() => {
  rmSync(directory, { recursive: true, force: true });
});

const write = (name: string, text: string | Buffer): void => writeFileSync(join(directory, name), text);
const named = (name: string, spec = "{ podSelector: {} }"): string =>
  policyYaml(spec, `{ name: ${name}, namespace: shop }`);

async function read(path = directory) {
  const { cluster, problems, files } = await readManifests(path);
  const lines = problems.map((problem) => problemText(problem).replaceAll(`${directory}/`, ""));
  return { cluster, policies: [...cluster.policies.keys()], lines, files };
}

describe("files", () => {
  test("yaml, yml and json of the directory itself, in the order of their names", async () => {
    write("c.yaml", named("c"));
    write("b.yml", `${named("b")}---\n${named("b2")}`);
    write(
      "a.json",
      JSON.stringify({
        apiVersion: "networking.k8s.io/v1",
        kind: "NetworkPolicy",
        metadata: { name: "a" },
        spec: { podSelector: {} },
      }),
    );
    for (const name of [".hidden.yaml", "d.yaml~", "d.yaml.swp", "README.md", "yaml", "D.YAML"])
      write(name, "not: [yaml");
    mkdirSync(join(directory, "sub.yaml"));
    writeFileSync(join(directory, "sub.yaml", "e.yaml"), named("e"));
    expect(await read()).toMatchObject({
      policies: ["default/a", "shop/b", "shop/b2", "shop/c"],
      lines: [],
      files: 3,
    });
  });

  test("one file of any name", async () => {
    write("policies", named("a"));
    expect(await read(join(directory, "policies"))).toMatchObject({
      policies: ["shop/a"],
      lines: [],
      files: 1,
    });
  });

  test("an empty directory is an empty cluster, which is reported", async () => {
    const fix = "if that is intended, create a file there with the comment # weir.dev/empty";
    expect(await read()).toMatchObject({
      policies: [],
      lines: [`${directory}: contains no manifests (.yaml, .yml or .json); ${fix}; no policy is in force`],
      files: 0,
    });
    write("other.yaml", "apiVersion: v1\nkind: ConfigMap\nmetadata: { name: x }\n");
    expect(await read()).toMatchObject({
      policies: [],
      lines: [`${directory}: contains no objects of supported kinds; ${fix}; no policy is in force`],
      files: 1,
    });
    write("meant.yaml", "# weir.dev/empty\n");
    expect(await read()).toMatchObject({ policies: [], lines: [], files: 2 });
  });

  test("symbolic links are followed, as in a mounted ConfigMap", async () => {
    mkdirSync(join(directory, "..2026_01_02"));
    writeFileSync(join(directory, "..2026_01_02", "a.yaml"), named("a"));
    symlinkSync("..2026_01_02", join(directory, "..data"));
    symlinkSync("..data/a.yaml", join(directory, "a.yaml"));
    symlinkSync("..data", join(directory, "directory.yaml"));
    expect(await read()).toMatchObject({ policies: ["shop/a"], lines: [], files: 1 });
  });

  test("a missing path", async () => {
    const lines = [
      `${directory}/missing: cannot be read: ENOENT: no such file or directory; the kernel keeps the last applied state`,
    ];
    const reading = await readManifests(join(directory, "missing"));
    expect(reading.problems.map(problemText)).toEqual(lines);
    expect(reading.cluster.policies.size).toBe(0);
  });
});

describe("a further look", () => {
  test("does not read again what has not changed, but does not trust a fresh time stamp", async () => {
    write("a.yaml", named("a"));
    const file = join(directory, "a.yaml");
    const fresh = await lookAt(file, undefined);
    await sleep(STAMP_SETTLED_MS + 20);
    const settled = await lookAt(file, fresh);
    expect(settled?.signature).not.toBe(fresh?.signature);
    expect(settled?.reading).toBe(fresh?.reading);
    expect(await lookAt(file, settled)).toBe(settled);
  });

  test("sees the same fault only once", async () => {
    symlinkSync("nowhere", join(directory, "a.yaml"));
    const first = await lookAt(join(directory, "a.yaml"), undefined);
    expect(await lookAt(join(directory, "a.yaml"), first)).toBe(first);
  });
});

describe("files that cannot be read do not stop the others", () => {
  const refused = "; its objects are not in force";
  test.each([
    [
      "a link that leads nowhere",
      () => symlinkSync("nowhere", join(directory, "bad.yaml")),
      "cannot be read: ENOENT: no such file or directory",
    ],
    ["a FIFO", () => execFileSync("mkfifo", [join(directory, "bad.yaml")]), "is not a regular file"],
    [
      "other encodings",
      () => write("bad.yaml", Buffer.from("\ufeffkind: x", "utf16le")),
      "is not UTF-8 text",
    ],
    [
      "too large a file",
      () => {
        write("bad.yaml", "");
        truncateSync(join(directory, "bad.yaml"), FILE_BYTES_MAX + 1);
      },
      `is larger than ${FILE_BYTES_MAX} bytes, the maximum`,
    ],
  ])("%s", async (_, prepare, reason) => {
    prepare();
    write("good.yaml", named("a"));
    expect(await read()).toMatchObject({
      policies: ["shop/a"],
      lines: [`bad.yaml: ${reason}${refused}`],
      files: 2,
    });
  });

  test("a name with terminal control sequences is shown escaped", async () => {
    write("\u001b[31mred\n.yaml", "a: [");
    const { lines } = await read();
    expect(lines).toHaveLength(1);
    expect(lines[0]).toMatch(/^\\u\{1b\}\[31mred\\u\{a\}\.yaml:1:5: not valid YAML/);
  });

  test("a byte-order mark and Windows line ends are accepted", async () => {
    write("a.yaml", `\ufeff${named("a").replaceAll("\n", "\r\n")}`);
    expect(await read()).toMatchObject({ policies: ["shop/a"], lines: [] });
  });
});

describe("duplicates", () => {
  test("policies: the pods of every version are isolated both ways, and each place is named", async () => {
    write("a.yaml", named("twice", "{ podSelector: { matchLabels: { app: web } }, ingress: [{}] }"));
    write("b.yaml", `${named("once", "{ podSelector: {}, ingress: [{}] }")}---\n${named("twice")}`);
    write("c.yaml", named("twice", "{ podSelector: 7 }"));
    write(
      "d.yaml",
      named("twice", "{ podSelector: { matchLabels: { app: api } }, policyTypes: [Egress], egress: [{}] }"),
    );
    const { cluster, lines } = await read();
    const isolated = { isolates: { ingress: true, egress: true }, rules: { ingress: [], egress: [] } };
    expect([...cluster.policies]).toMatchObject([
      [
        "shop/twice",
        { ...isolated, name: "twice", subject: { requirements: [{ key: "app", values: ["web"] }] } },
      ],
      ["shop/twice#2", { ...isolated, name: "twice#2", subject: { requirements: [] } }],
      ["shop/twice#3", { ...isolated, name: "twice#3", subject: { requirements: [] } }],
      ["shop/twice#4", { ...isolated, name: "twice#4", subject: { requirements: [{ values: ["api"] }] } }],
      ["shop/once", { rules: { ingress: [{ peers: "anyone" }] } }],
    ]);
    const unreadable = [...cluster.policies.values()].map((policy) =>
      policy.unreadable?.replaceAll(`${directory}/`, ""),
    );
    const places = "declared more than once: a.yaml:1:1, b.yaml:6:1, c.yaml:1:1, d.yaml:1:1";
    expect(unreadable).toEqual([places, places, places, places, undefined]);
    const effect = "the pods of each are isolated (ingress and egress) and nothing is allowed by any";
    expect(lines).toEqual([
      `b.yaml:6:1: NetworkPolicy shop/twice: is declared more than once, first at a.yaml:1:1; ${effect}`,
      `c.yaml:1:1: NetworkPolicy shop/twice: is declared more than once, first at a.yaml:1:1; ${effect}`,
      "c.yaml:4:9: NetworkPolicy shop/twice: spec.podSelector: must be a map (matchLabels, matchExpressions), not a number; every pod of namespace shop is isolated (ingress) and nothing is allowed by it",
      `d.yaml:1:1: NetworkPolicy shop/twice: is declared more than once, first at a.yaml:1:1; ${effect}`,
    ]);
  });

  test.each([
    ["a copy of its bytes", (text: string) => text],
    [
      "the same in other words",
      () =>
        `${JSON.stringify({ kind: "NetworkPolicy", spec: { ingress: [{ from: [{ podSelector: {} }] }], podSelector: { matchLabels: { tier: "front", app: "web" } } }, metadata: { namespace: "shop", name: "web" }, apiVersion: "networking.k8s.io/v1" })}\n`,
    ],
  ])("%s is one object, with a warning", async (_, copy) => {
    const text = named(
      "web",
      "{ podSelector: { matchLabels: { app: web, tier: front } }, ingress: [{ from: [{ podSelector: {} }] }] }",
    );
    write("a.yaml", text);
    write("b.yaml", copy(text));
    write("c.yaml", copy(text));
    const { policies, cluster, lines } = await read();
    expect(policies).toEqual(["shop/web"]);
    expect(cluster.policies.get("shop/web")?.rules.ingress).toHaveLength(1);
    const reason =
      "is declared more than once, first at a.yaml:1:1, with the same content; remove one of them";
    expect(lines).toEqual([
      `b.yaml:1:1: NetworkPolicy shop/web: ${reason}`,
      `c.yaml:1:1: NetworkPolicy shop/web: ${reason}`,
    ]);
  });

  test("a copy beside a version that differs makes it no less ambiguous", async () => {
    write("a.yaml", named("web", "{ podSelector: {}, ingress: [{}] }"));
    write("b.yaml", named("web", "{ podSelector: {}, ingress: [{}] }"));
    write("c.yaml", named("web", "{ podSelector: {}, ingress: [] }"));
    const { cluster, lines } = await read();
    expect([...cluster.policies.values()].map(({ name, rules }) => [name, rules.ingress.length])).toEqual([
      ["web", 0],
      ["web#2", 0],
    ]);
    expect(lines).toEqual([
      expect.stringMatching(/^b.yaml:1:1: .*with the same content/),
      expect.stringMatching(/^c.yaml:1:1: .*nothing is allowed by any$/),
    ]);
  });

  test("the same name in two namespaces, or of two kinds, is not a duplicate", async () => {
    write(
      "a.yaml",
      `${named("a")}---\n${policyYaml("{ podSelector: {} }", "{ name: a }")}---\napiVersion: v1\nkind: Pod\nmetadata: { name: a }\n`,
    );
    expect(await read()).toMatchObject({ policies: ["shop/a", "default/a"], lines: [] });
  });

  test("pods and namespaces: the first one is used", async () => {
    const object = (kind: string, app: string): string =>
      `apiVersion: v1\nkind: ${kind}\nmetadata: { name: x, labels: { app: ${app} } }\n`;
    write("a.yaml", `${object("Pod", "first")}---\n${object("Namespace", "first")}`);
    write("b.yaml", `${object("Namespace", "second")}---\n${object("Pod", "second")}`);
    const { cluster, lines } = await read();
    expect(cluster.pods.get("default/x")?.labels.get("app")).toBe("first");
    expect(cluster.namespaces.get("x")?.labels.get("app")).toBe("first");
    expect(lines).toEqual([
      "b.yaml:1:1: Namespace x: is declared more than once, first at a.yaml:5:1; the first one is used",
      "b.yaml:5:1: Pod default/x: is declared more than once, first at a.yaml:1:1; the first one is used",
    ]);
  });
});

describe("limits on what is listed", () => {
  test("problems of one object", async () => {
    const unknown = Array.from({ length: PROBLEMS_PER_OBJECT_MAX + 7 }, (_, index) => `f${index}: 1`).join(
      ", ",
    );
    write("a.yaml", named("a", `{ ${unknown}, podSelector: { x: 1 } }`));
    const { lines, policies } = await read();
    expect(lines).toHaveLength(PROBLEMS_PER_OBJECT_MAX + 1);
    expect(lines[0]).toMatch(
      /NetworkPolicy shop\/a: has 8 more problems that are not listed; every pod of namespace shop is isolated/,
    );
    expect(policies).toEqual(["shop/a"]);
  });

  test("problems of one file", async () => {
    write("a.yaml", "kind: 7\n---\n".repeat(PROBLEMS_PER_FILE_MAX + 3));
    const { lines } = await read();
    expect(lines).toHaveLength(PROBLEMS_PER_FILE_MAX + 1);
    expect(lines.at(-1)).toBe("a.yaml: has 3 more problems that are not listed");
  });
});
