// Manifests read for lint: comments and what they apply to, codes that are silenced, places of fields, pods of workloads.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import { keyOf } from "../../../../src/model/cluster.ts";
import { commentsOf, ignoreOf } from "../../../../src/source/manifests/lint-ignores.ts";
import { readForLint } from "../../../../src/source/manifests/lint-manifests.ts";

const read = (text: string) => readForLint([{ name: "x.yaml", content: { ok: true, text } }]);

/** By policy, the codes that are silenced. */
async function ignoredIn(text: string): Promise<Record<string, readonly string[]>> {
  const { texts } = await read(text);
  return Object.fromEntries([...texts].map(([key, { ignored }]) => [key, [...ignored]]));
}

const policy = (name: string, more = "") =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: ns }\n${more}spec: { podSelector: {} }\n`;
const item = (name: string, more = "") =>
  `- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n${more}  metadata: { name: ${name}, namespace: ns }\n  spec: { podSelector: {} }\n`;
const LIST = "apiVersion: v1\nkind: List\nitems:\n";
const ignore = (code: string) => `# weir.dev/lint-ignore: ${code}\n`;

describe("comments", () => {
  it("are distinguished from text that looks like them", () => {
    const text = `# one\na: "# no"\nb: '# no'\nc: x#no # two\nd: |\n  # no\n  text\n\n  # three\n`;
    const found = commentsOf(text).comments.map((each) => [each.line, each.column, each.text, each.alone]);
    // The last one is in the block, too.
    expect(found).toEqual([
      [1, 1, "one", true],
      [4, 9, "two", false],
    ]);
  });

  it("mark the documents' ends, without counting documents of comments alone", () => {
    expect(commentsOf("# a\n---\nx: 1\n...\n# b\n---\ny: 1\n---\n").separators).toEqual([4, 8]);
    expect(commentsOf("%YAML 1.2\n---\nx: 1\n").separators).toEqual([]);
  });

  it("are found in any text, line by line", () => {
    const piece = fc.constantFrom(
      "# c",
      "a: ",
      "- ",
      "\n",
      "\r\n",
      "---\n",
      "|\n",
      "'",
      '"',
      "{",
      "]",
      "\t",
      " ",
      "é",
      "\u001f",
      "\u0002",
    );
    const text = fc.oneof(
      fc.string({ unit: "grapheme" }),
      fc.array(piece).map((pieces) => pieces.join("")),
    );
    fc.assert(
      fc.property(text, (any) => {
        const lines = any.split("\n");
        for (const { line, column, text: comment } of commentsOf(any).comments) {
          const rest = (lines[line - 1] ?? "").slice(column - 1);
          expect(rest.startsWith("#")).toBe(true);
          expect(rest.slice(1).trim()).toBe(comment);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("what is silenced", () => {
  it.each([
    ["dns-missing", ["dns-missing"], undefined],
    [" dns-missing ,and-or", ["dns-missing", "and-or"], undefined],
    ["opens-all it is public, and-or (meant)", ["opens-all", "and-or"], undefined],
    ["and-or,", ["and-or"], undefined],
    ["", [], "names no code"],
    ["all", [], '"all" is not a warning code'],
    ["and-or, DNS-missing", ["and-or"], '"DNS-missing" is not a warning code'],
  ])("by %j", (list, codes, wrong) => {
    const found = ignoreOf(list);
    expect(found.codes).toEqual(codes);
    if (wrong === undefined) expect(found.wrong).toBeUndefined();
    else expect(found.wrong?.reason).toContain(wrong);
  });

  it("by a comment anywhere in the policy's document", async () => {
    const documents = [
      ignore("and-or") + policy("above"),
      policy("inside", ignore("and-or")),
      policy("beside").replace("spec:", "spec: # weir.dev/lint-ignore: and-or\n "),
      policy("below") + ignore("and-or"),
      `# other\n\n${ignore("and-or")}\n${policy("far-above")}`,
      policy("none", "# and-or\n"),
    ];
    expect(await ignoredIn(documents.join("---\n"))).toEqual({
      "ns/above": ["and-or"],
      "ns/inside": ["and-or"],
      "ns/beside": ["and-or"],
      "ns/below": ["and-or"],
      "ns/far-above": ["and-or"],
      "ns/none": [],
    });
  });

  it("by a comment in a list's element or directly above it", async () => {
    const text = [
      LIST,
      ignore("and-or"),
      item("a"),
      "# about b:\n",
      ignore("opens-all"),
      item("b", "  # weir.dev/lint-ignore: dns-missing\n"),
      ignore("rule-split"),
      "\n",
      item("c"),
    ];
    expect(await ignoredIn(text.join(""))).toEqual({
      "ns/a": ["and-or"],
      "ns/b": ["opens-all", "dns-missing", "rule-split"],
      "ns/c": [],
    });
  });

  it("by an annotation", async () => {
    const annotated = policy("a").replace(
      "namespace: ns",
      'namespace: ns, annotations: { weir.dev/lint-ignore: "and-or, dns-missing" }',
    );
    const items = JSON.stringify({
      apiVersion: "networking.k8s.io/v1",
      kind: "NetworkPolicyList",
      items: [
        {
          metadata: { name: "b", namespace: "ns", annotations: { "weir.dev/lint-ignore": "opens-all" } },
          spec: { podSelector: {} },
        },
      ],
    });
    expect(await ignoredIn(`${annotated}---\n${items}`)).toEqual({
      "ns/a": ["and-or", "dns-missing"],
      "ns/b": ["opens-all"],
    });
  });

  it("never an error", async () => {
    const { reading } = await read(ignore("kind-unread") + policy("a").replace("podSelector", "podSelectr"));
    expect(reading.problems.map(({ severity, path }) => [severity, path])).toContainEqual([
      "error",
      "spec.podSelectr",
    ]);
  });

  it("not by an unknown code: that is reported with its place", async () => {
    const wrong = policy("a").replace(
      "namespace: ns",
      "namespace: ns,\n  annotations: { weir.dev/lint-ignore: dns-mising }",
    );
    const { reading } = await read(`${policy("b")}# weir.dev/lint-ignore opens-all\n---\n${wrong}`);
    expect(reading.problems).toEqual([
      {
        severity: "warning",
        file: "x.yaml",
        line: 5,
        column: 1,
        code: "ignore-unknown",
        reason: "weir.dev/lint-ignore names no code",
        fix: "write weir.dev/lint-ignore: CODE,...",
      },
      {
        severity: "warning",
        file: "x.yaml",
        line: 10,
        column: 18,
        code: "ignore-unknown",
        reason: 'weir.dev/lint-ignore: "dns-mising" is not a warning code',
        fix: "the nearest is dns-missing",
      },
    ]);
  });
});

describe("the text of a policy", () => {
  it("has places for fields, in lists and through aliases too", async () => {
    const { texts } = await read(
      `${LIST}${item("a")}- apiVersion: networking.k8s.io/v1\n  kind: NetworkPolicy\n  metadata: { name: b, namespace: ns }\n  spec:\n    podSelector: &all {}\n    ingress:\n    - from: [{ podSelector: *all }]\n`,
    );
    const text = texts.get("ns/b");
    expect(text?.where(["spec", "ingress", 0, "from", 0, "podSelector"])).toEqual({
      file: "x.yaml",
      line: 14,
      column: 16,
    });
    expect(text?.where(["spec", "egress"])).toEqual({ file: "x.yaml", line: 11, column: 3 });
    expect(text?.writes(["spec", "ingress", 0, "from", 0, "podSelector"])).toBe(true);
    expect(text?.writes(["spec", "ingress", 0, "ports"])).toBe(false);
    expect(text?.writes(["spec", "podSelector", "constructor"])).toBe(false);
  });

  it("has none for one that is declared twice", async () => {
    const { texts, policies, reading } = await read(
      `${policy("a")}---\n${policy("a").replace("{ podSelector: {} }", "{ podSelector: {}, policyTypes: [Egress] }")}---\n${policy("b")}`,
    );
    expect([...texts.keys()]).toEqual(["ns/b"]);
    expect(policies).toBe(3);
    expect(reading.problems).toHaveLength(1);
  });
});

describe("pods of workloads", () => {
  const template =
    "{ metadata: { labels: { app: web } }, spec: { hostNetwork: true, containers: [{ ports: [{ name: http, containerPort: 80 }] }] } }";
  const workload = (kind: string, spec: string) =>
    `apiVersion: apps/v1\nkind: ${kind}\nmetadata: { name: ${kind.toLowerCase()}, namespace: shop }\nspec: ${spec}\n`;

  it("are those of their templates", async () => {
    const { templates, reading } = await read(
      [
        workload("Deployment", `{ template: ${template} }`),
        workload("CronJob", `{ jobTemplate: { spec: { template: ${template} } } }`),
        workload("Rollout", `{ template: ${template} }`),
        `apiVersion: v1\nkind: List\nitems: [{ apiVersion: apps/v1, kind: DaemonSet, metadata: { name: list }, spec: { template: ${template} } }]\n`,
      ].join("---\n"),
    );
    expect(templates.map(keyOf)).toEqual(["shop/deployment", "shop/cronjob", "shop/rollout", "default/list"]);
    for (const pod of templates) {
      expect(pod).toMatchObject({
        labels: new Map([["app", "web"]]),
        hostNetwork: true,
        ips: [],
        ports: [{ name: "http" }],
      });
    }
    expect(reading.problems).toEqual([]);
  });

  it.each([
    ["without a pod", workload("Certificate", "{ template: { metadata: { labels: { app: web } } } }")],
    ["whose template is no map", workload("Deployment", "{ template: [1] }")],
    ["whose containers are no list", workload("Deployment", "{ template: { spec: { containers: 1 } } }")],
    ["without a name", `apiVersion: apps/v1\nkind: Deployment\nspec: { template: ${template} }\n`],
    ["that is a pod itself", "apiVersion: v1\nkind: Pod\nmetadata: { name: a }\nspec: { containers: [] }\n"],
    ["that is not an object", "- 1\n"],
  ])("are none for what is one %s", async (_, text) => {
    expect((await read(text)).templates).toEqual([]);
  });
});
