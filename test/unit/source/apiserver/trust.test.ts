// Which annotations count: those of pods in trusted namespaces, whatever they name; elsewhere none does, and it is reported once.

import { expect, it } from "vitest";
import { keyOf, type Pod } from "../../../../src/model/cluster.ts";
import { openTrust } from "../../../../src/source/apiserver/annotation-trust.ts";
import { cidr, namespace, pod } from "../../../support/model.ts";

const NAMED: Readonly<Record<string, Partial<Pod>>> = {
  interface: { attachment: { kind: "link", name: "veth7" } },
  netns: { attachment: { kind: "netns", name: "other" } },
  sources: { sources: [cidr("10.9.0.0/16")] },
  macs: { macs: ["52:54:00:12:34:56"] },
};

it.each(Object.entries(NAMED))("%s of a pod count in a trusted namespace only", (_, named) => {
  const trust = openTrust();
  const plain = pod("shop/web", ["10.0.0.7"]);
  const web: Pod = { ...plain, ...named };
  const pods = new Map([[keyOf(web), web]]);
  const of = (labels: Readonly<Record<string, string>>) =>
    trust(pods, new Map([["shop", namespace("shop", labels)]]));

  const trusted = of({ "weir.dev/pod-annotations": "trusted" });
  expect(trusted.pods.get("shop/web")).toBe(web);
  expect(trusted.problems).toEqual([]);
  for (const labels of [{}, { "weir.dev/pod-annotations": "yes" }]) {
    const ignored = of(labels);
    expect(ignored.pods.get("shop/web")).toEqual(plain);
    expect(ignored.problems).toMatchObject([{ severity: "warning", object: "Namespace shop" }]);
  }
});
