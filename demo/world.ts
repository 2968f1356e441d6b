// The demo's world: three namespaces with their pods, and five machines that are no pods. Every one is a network namespace.

import type { LabelMap, PodSpec } from "../src/lab/lab-manifests.ts";
import type { EndpointSpec } from "../src/lab/netns-lab.ts";

export const NAMESPACES: Readonly<Record<string, LabelMap>> = {
  alpha: { ns: "a" },
  beta: { ns: "b" },
  gamma: { ns: "c" },
};

const pod = (name: string, number: number, labels: LabelMap, http: readonly number[] = []): PodSpec => ({
  name,
  labels,
  addresses: [`10.63.60.${number}`, `fd63:60::${number}`],
  http,
});

export const PODS: readonly PodSpec[] = [
  pod("alpha/nginx-1", 11, { run: "nginx" }, [80, 8080]),
  pod("alpha/nginx-2", 12, { run: "nginx" }),
  pod("alpha/access", 13, { run: "access" }),
  pod("alpha/reader", 14, { run: "reader" }, [80]),
  pod("beta/hammer", 21, { app: "hammer" }, [80]),
  pod("beta/anvil", 22, { app: "anvil" }),
  pod("gamma/hammer", 31, { app: "hammer" }),
];

const FAR = ["203.0.113.7", "fd63:113::7"];

/** Over each family, asked for addresses of that family. */
export const RESOLVER = ["10.63.53.53", "fd63:53::53"];

/** Addresses around 10.63.48.0/22, which ends at 10.63.51.255, and one outside of 10.0.0.0/8. */
export const MACHINES: readonly EndpointSpec[] = [
  { name: "inside", addresses: ["10.63.48.9", "fd63:48::9"] },
  { name: "excepted", addresses: ["10.63.48.4", "fd63:48::4"] },
  { name: "beyond", addresses: ["10.63.52.1", "fd63:52::1"] },
  { name: "far", addresses: FAR, http: [80] },
  { name: "resolver", addresses: RESOLVER, dns: { "www.far.example": FAR } },
];

/** What each endpoint is called in the tables. */
export const ROW_TITLES: Readonly<Record<string, string>> = {
  inside: "in the block  10.63.48.9",
  excepted: "excepted      10.63.48.4",
  beyond: "past its end  10.63.52.1",
  far: "far away      203.0.113.7",
  node: "the node itself",
};
