// Manifests of a lab, as text that a YAML reader accepts, and the directory that they are written to.

import { mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, it } from "vitest";
import { parseAllDocuments } from "yaml";
import { manifestDirectory, namespaceManifest, podManifest, yamlOf } from "../../../src/lab/lab-manifests.ts";

const WIRE = { netns: "wt-1-alpha-web", link: "wt-1", addresses: [] };
const POD = {
  name: "alpha/web",
  labels: { run: "web", odd: "no" },
  addresses: ["10.63.60.1", "fd63:60::1"],
  portNames: { http: { port: 80, protocol: "TCP" } },
} as const;

const read = (text: string): unknown[] => parseAllDocuments(text).map((document) => document.toJS());

it("a pod has its labels, its addresses, its ports and its namespace's name", () => {
  expect(read(yamlOf([podManifest(POD, WIRE)]))).toMatchObject([
    {
      apiVersion: "v1",
      kind: "Pod",
      metadata: {
        name: "web",
        namespace: "alpha",
        labels: { run: "web", odd: "no" },
        annotations: { "weir.dev/netns": "wt-1-alpha-web" },
      },
      spec: { containers: [{ ports: [{ name: "http", containerPort: 80, protocol: "TCP" }] }] },
      status: { podIPs: [{ ip: "10.63.60.1" }, { ip: "fd63:60::1" }] },
    },
  ]);
});

it.each([
  ["netns", { "weir.dev/netns": "wt-1-alpha-web" }],
  ["interface", { "weir.dev/interface": "wt-1" }],
  ["route", {}],
] as const)("a pod found by %s is annotated so", (found, annotations) => {
  expect(podManifest({ ...POD, found }, WIRE)).toMatchObject({ metadata: { annotations } });
});

it("several objects make one file of several documents", () => {
  const text = yamlOf([namespaceManifest("alpha", { ns: "a" }), namespaceManifest("beta", {})]);
  expect(read(text)).toMatchObject([
    { kind: "Namespace", metadata: { name: "alpha", labels: { ns: "a" } } },
    { kind: "Namespace", metadata: { name: "beta", labels: {} } },
  ]);
});

it("files of a directory are whole, and gone when removed", () => {
  const root = mkdtempSync(join(tmpdir(), "weir-manifests-"));
  try {
    const directory = manifestDirectory(join(root, "deep", "manifests"));
    directory.put("a.yaml", "one: 1\n");
    directory.put("a.yaml", [{ two: 2 }]);
    directory.put("b.yaml", "three: 3\n");
    expect(readFileSync(join(directory.path, "a.yaml"), "utf8")).toBe("two: 2\n");
    directory.remove("b.yaml");
    expect(readdirSync(directory.path)).toEqual(["a.yaml"]);
  } finally {
    rmSync(root, { recursive: true });
  }
});
