// Every file of test/fixtures/malformed against the text beside it: the exact lines an operator gets, and what is enforced.

import { readdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, test } from "vitest";
import { type Cluster, keyOf, type Pod } from "../../../src/model/cluster.ts";
import type { ClusterPolicy } from "../../../src/model/cluster-network-policy.ts";
import type { Policy } from "../../../src/model/network-policy.ts";
import { problemText } from "../../../src/model/problem.ts";
import { type Labels, selectorText } from "../../../src/model/selector.ts";
import { readManifests } from "../../../src/source/manifests/manifest-watch.ts";
import { ruleText } from "./support.ts";

const DIRECTORY = "test/fixtures/malformed";
const names = readdirSync(DIRECTORY).filter((name) => name.endsWith(".yaml"));

describe("a malformed manifest", () => {
  test.each(names)("%s", async (name) => {
    const file = join(DIRECTORY, name);
    const { cluster, problems } = await readManifests(file);
    const lines = problems.map((problem) => `${problem.severity}: ${problemText(problem)}`);
    const outcome = [...lines, "", ...inForce(cluster)].join("\n").replaceAll(`${DIRECTORY}/`, "");
    expect(`${outcome}\n`).toBe(readFileSync(file.replace(/\.yaml$/, ".txt"), "utf8"));
  });

  test("never allows anything if it has a problem, and each problem is one line", async () => {
    const { cluster, problems } = await readManifests(DIRECTORY);
    const whole = [...cluster.policies.values()].filter(
      ({ unreadable, omitted }) => unreadable === undefined && omitted === undefined,
    );
    expect(whole.map(keyOf)).toEqual(["shop/before", "shop/after", "shop/labelled"]);
    for (const policy of cluster.policies.values()) {
      if (policy.unreadable !== undefined) expect(policy.rules).toEqual({ ingress: [], egress: [] });
      for (const { peers, ports } of [...policy.rules.ingress, ...policy.rules.egress])
        expect(peers === "anyone" && ports === "all").toBe(false);
    }
    expect(problems.map(problemText).filter((line) => line.includes("\n"))).toEqual([]);
  });
});

function inForce(cluster: Cluster): readonly string[] {
  const namespaces = [...cluster.namespaces.values()].map(
    ({ name, labels }) => `Namespace ${name}: ${labelsText(labels)}`,
  );
  return [
    ...namespaces,
    ...[...cluster.pods.values()].map(podText),
    ...[...cluster.policies.values()].map(policyText),
    ...[...(cluster.clusterPolicies?.values() ?? [])].map(clusterPolicyText),
  ];
}

function clusterPolicyText(policy: ClusterPolicy): string {
  const { name, tier, priority, subject, rules } = policy;
  const lines = (["ingress", "egress"] as const).flatMap((direction) =>
    rules[direction].map((rule) => `\n  ${direction} ${rule.action} ${ruleText(rule)}`),
  );
  const pods = `ns {${selectorText(subject.namespaces)}} pods {${selectorText(subject.pods)}}`;
  return `ClusterNetworkPolicy ${name}: ${tier} ${priority} of ${pods}; ${howRead(policy)}${lines.join("")}`;
}

function policyText(policy: Policy): string {
  const directions = (["ingress", "egress"] as const).filter((direction) => policy.isolates[direction]);
  const pods = selectorText(policy.subject) || "all pods";
  const rules = directions.flatMap((direction) =>
    policy.rules[direction].map((rule) => `\n  ${direction} ${ruleText(rule)}`),
  );
  return `NetworkPolicy ${keyOf(policy)}: isolates ${directions.join(" and ")} of ${pods}; ${howRead(policy)}${rules.join("")}`;
}

function howRead({ unreadable, omitted }: Policy | ClusterPolicy): string {
  if (unreadable !== undefined) return `unreadable (${unreadable})`;
  return omitted === undefined ? "read in full" : `read without ${omitted}`;
}

function podText(pod: Pod): string {
  const addresses = pod.ips.map((ip) => ip.text).join(" ") || "no address";
  const ports =
    pod.ports.map((port) => `${port.name ?? "-"}=${port.protocol}/${port.port}`).join(" ") || "no port";
  const node = pod.node ?? "no node";
  const state = `${pod.hostNetwork ? "on the host's network" : "own network"}, ${pod.finished ? "finished" : "running"}`;
  const attachment =
    pod.attachment === undefined ? "no annotation" : `${pod.attachment.kind} ${pod.attachment.name}`;
  return `Pod ${keyOf(pod)}: ${[labelsText(pod.labels), addresses, ports, node, state, attachment].join("; ")}`;
}

const labelsText = (labels: Labels): string =>
  [...labels].map(([key, value]) => `${key}=${value}`).join(",") || "no labels";
