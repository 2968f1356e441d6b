// Which source `weir run` uses: manifests, a kubeconfig or the cluster, exactly one, and the error if it is invalid.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Config } from "../../../src/cli/config/config-schema.ts";
import type { Env } from "../../../src/cli/environment.ts";
import { sourceOf } from "../../../src/cli/source-options.ts";

let directory: string;
let kubeconfig: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "weir-source-"));
  kubeconfig = join(directory, "kubeconfig");
  writeFileSync(kubeconfig, "");
});
afterAll(() => rmSync(directory, { recursive: true }));

function ask(given: Partial<Config>, variables: Env["variables"] = {}) {
  const config = { inCluster: false, ...given } as Config;
  const nameOf = (key: string): string => `<${key}>`;
  return sourceOf({ config, nameOf, text: "" }, { variables } as Env);
}

describe("a source", () => {
  it("is a directory of manifests", () => {
    expect(ask({ manifests: directory })).toEqual({ kind: "manifests", path: directory });
  });

  it("is the API server of a kubeconfig, with the node that is named", () => {
    const credentials = { from: "kubeconfig", path: kubeconfig };
    expect(ask({ kubeconfig, nodeName: "n1" }, { NODE_NAME: "n2" })).toMatchObject({
      ...{ kind: "apiserver", node: "n1" },
      credentials,
    });
    expect(ask({ kubeconfig }, { NODE_NAME: "n2" })).toMatchObject({ node: "n2", credentials });
    expect(ask({ kubeconfig }, { NODE_NAME: "" })).toMatchObject({ node: hostname().toLowerCase() });
    expect(ask({ kubeconfig, context: "b" })).toMatchObject({
      credentials: { ...credentials, context: "b" },
    });
  });

  it("is one, not two", () => {
    expect(() => ask({ manifests: directory, kubeconfig })).toThrow(
      /^<manifests> and <kubeconfig> exclude each/,
    );
    expect(() => ask({ kubeconfig, inCluster: true })).toThrow(/^<kubeconfig> and <inCluster> exclude each/);
  });

  it("exists", () => {
    expect(() => ask({ kubeconfig: `${kubeconfig}.none` })).toThrow(/kubeconfig\.none does not exist$/);
    expect(() => ask({})).toThrow(/^name a source: --manifests DIR, --kubeconfig FILE or/);
  });

  it("is no cluster outside of one", () => {
    expect(() => ask({ inCluster: true })).toThrow(/^<inCluster>: this is not a pod with a service account/);
  });

  it("has a context only with a kubeconfig", () => {
    expect(() => ask({ manifests: directory, context: "b" })).toThrow(/^<context> needs <kubeconfig>;/);
  });
});
