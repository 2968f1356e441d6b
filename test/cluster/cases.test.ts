// Cases of test/cases through the API server: their actions are applied there, their expectations are checked with real sockets.

import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { hostsOf } from "../../src/engines/live-hosts.ts";
import type { Flows } from "../../src/engines/live-probes.ts";
import { bringHosts, judged } from "../../src/engines/live-world.ts";
import { type Engine, failureText, hasPassed, runCase } from "../../src/source/conformance/case-runner.ts";

import { type CaseFile, caseOf, ownCases } from "../support/cases.ts";
import { type Action, perform } from "./actions.ts";
import { namespaceOf, removeNamespace } from "./objects.ts";
import { NODE, openWorld, type World } from "./world.ts";

/** The cases about changes of the cluster, and one for each kind of peer and port: the others would only take time. */
const QUICK = [
  "address-reused",
  "both-ends",
  "dual-stack",
  "except-overlapped",
  "named-port-ingress",
  "namespace-deleted",
  "namespace-relabelled",
  "pod-relabelled",
  "policy-changes",
  "seed-01-every-peer-kind",
  "selector-not-in",
  "service-slices",
];

/** With the reason why they cannot run here. */
const NOT_HERE: Readonly<Record<string, string>> = {
  "audit.yaml": "it has nodes that only audit, which is no matter of the API server",
  "end-port.yaml": "endPort is dropped by the API server before 1.22; policies.test.ts has a test of it",
  "port-ranges-overlap.yaml": "the same",
};

const files = ownCases().filter(
  ({ name }) =>
    !(name in NOT_HERE) &&
    (process.env["WEIR_CLUSTER_FULL"] === "1" || QUICK.includes(name.replace(/\.yaml$/, ""))),
);

interface Written {
  readonly steps: readonly { readonly actions?: readonly Action[] }[];
}

let world: World;
const held = new Map<string, string>();

beforeAll(async () => {
  world = await openWorld("wc-case");
  await world.start();
});

afterAll(() => world?.close());

/** Brings the API server to a step of the case, and waits until the agent has followed. */
function throughTheApi(file: CaseFile): Engine {
  const written = parse(file.text) as Written;
  const flows: Flows = new Map();
  return {
    name: "the cluster",
    async judge(step, of) {
      const index = of.steps.indexOf(step);
      const hosts = hostsOf(of, step);
      const actions = written.steps[index]?.actions ?? [];
      // A pod that is deleted and recreated has another interface.
      const ended = [...held.keys()].filter((name) => actions.some((action) => isEndOf(action, name)));
      world.lab.remove(ended);
      for (const name of ended) held.delete(name);
      await bringHosts(world.lab, held, hosts.list);
      if (index === 0) await createCluster(written);
      for (const action of actions) await perform(world.api, action);
      await world.settled();
      const verdicts = await judged(step.cells, { lab: world.lab, hosts, flows });
      return verdicts.map(({ outcome, what }) => ({ outcome, why: () => what }));
    },
  };
}

function isEndOf(action: Action, name: string): boolean {
  if (action.type === "deletePod") return name === `${action.namespace}/${action.name}`;
  return action.type === "deleteNamespace" && name.startsWith(`${action.name}/`);
}

interface WrittenCluster {
  readonly cluster: {
    readonly namespaces: readonly { readonly name: string; readonly labels: Record<string, string> }[];
    readonly pods: readonly unknown[];
  };
}

async function createCluster(written: Written): Promise<void> {
  const { namespaces, pods } = (written as Written & WrittenCluster).cluster;
  for (const { name, labels } of namespaces)
    if (name !== "default") await world.api.create(namespaceOf(name, labels));
  for (const pod of pods) await perform(world.api, { type: "createPod", pod } as Action);
}

async function removeCluster(): Promise<void> {
  for (const { metadata } of await world.api.list("v1", "Namespace"))
    if (!/^(?:default|kube-.*)$/.test(metadata.name)) await removeNamespace(world.api, metadata.name);
}

describe(`cases on ${NODE}`, () => {
  it.each(files.map((file) => [file.name, file] as const))("%s", async (_name, file) => {
    try {
      const result = await runCase(caseOf(file), throughTheApi(file));
      expect(hasPassed(result) ? "" : failureText(result, 20)).toBe("");
    } finally {
      await removeCluster();
    }
  });
});
