// The fast readers of pods and slices give what the parser with all its checks gives, or leave the object to it.

import fc from "fast-check";
import { expect, it } from "vitest";
import { parseDocument } from "../../../../src/source/parse/parse-document.ts";
import { plainPod } from "../../../../src/source/parse/parse-pod.ts";
import { plainSlice } from "../../../../src/source/parse/parse-service.ts";

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

/** Anything that may be where something else is expected. */
const odd: fc.Arbitrary<Json | undefined> = fc.oneof(
  fc.constantFrom<(Json | undefined)[]>(undefined, null, true, false, 0, 80, 65_536, 1.5),
  fc.constantFrom<Json[]>(
    "",
    "a",
    "A",
    "-",
    "10.0.0.1",
    "10.0.0.01",
    "fd00::1",
    "FD00::1",
    "::ffff:10.0.0.1",
  ),
  fc.constantFrom<Json[]>([], {}, ["10.0.0.1"], { ip: "10.0.0.2" }, { "weir.dev/interface": "v0" }),
  fc.constantFrom<Json[]>("Succeeded", "Failed", "IPv4", "IPv6", "FQDN", "TCP", "SCTP", "tcp", "Always"),
  fc.constantFrom<Json[]>([{ name: "web", port: 80 }], [{ containerPort: 80 }], [{ ip: "10.0.0.3" }, {}]),
  fc.json({ maxDepth: 2 }).map((text) => JSON.parse(text) as Json),
);

const pods: readonly Json[] = [
  {
    metadata: {
      name: "web-0",
      namespace: "shop",
      uid: "u",
      resourceVersion: "1",
      labels: { app: "web", "app.kubernetes.io/name": "web" },
      annotations: {},
    },
    spec: {
      nodeName: "node-1",
      hostNetwork: false,
      containers: [
        { ports: [{ name: "http", containerPort: 8_080, protocol: "TCP" }, { containerPort: 9 }] },
        {},
      ],
      initContainers: [{ restartPolicy: "Always", ports: [{ name: "proxy", containerPort: 15_001 }] }],
    },
    status: { phase: "Running", podIP: "10.0.0.1", podIPs: [{ ip: "10.0.0.1" }, { ip: "fd00::1" }] },
  },
  {
    metadata: { name: "new", namespace: "shop", deletionTimestamp: "2026-01-01T00:00:00Z" },
    spec: { containers: [] },
    status: { phase: "Pending" },
  },
];

const slices: readonly Json[] = [
  {
    metadata: { name: "web-x", namespace: "shop", labels: { "kubernetes.io/service-name": "web" } },
    addressType: "IPv4",
    endpoints: [
      { addresses: ["10.0.0.1", "10.0.0.2"], conditions: { ready: true, serving: true, terminating: false } },
      { addresses: ["10.0.0.3"], conditions: {}, nodeName: "node-1" },
      { addresses: ["10.0.0.4"], nodeName: "" },
    ],
    ports: [
      { name: "http", port: 8_080, protocol: "TCP" },
      { port: 53, protocol: "UDP" },
    ],
  },
  {
    metadata: {
      name: "other",
      namespace: "shop",
      labels: { "kubernetes.io/service-name": "web", "service.kubernetes.io/headless": "" },
    },
    addressType: "IPv6",
    endpoints: [{ addresses: ["fd00::1"], conditions: { ready: false } }],
    ports: [],
  },
];

type Path = readonly (string | number)[];

function pathsIn(value: Json, path: Path = []): Path[] {
  if (typeof value !== "object" || value === null) return [path];
  const below = Object.entries(value).flatMap(([key, item]) =>
    pathsIn(item, [...path, Array.isArray(value) ? Number(key) : key]),
  );
  return path.length === 0 ? below : [path, ...below];
}

function withValue(value: Json, [first, ...rest]: Path, put: Json | undefined): Json {
  const copy = (Array.isArray(value) ? [...value] : { ...(value as object) }) as Record<
    string,
    Json | undefined
  >;
  const key = String(first);
  copy[key] = rest.length === 0 ? put : withValue(copy[key] as Json, rest, put);
  // What is undefined is not there in JSON, and null in a list.
  return JSON.parse(JSON.stringify(copy)) as Json;
}

const withFaults = (all: readonly Json[]): fc.Arbitrary<Json> =>
  fc
    .tuple(fc.constantFrom(...all), fc.array(fc.tuple(fc.nat(), odd), { maxLength: 3 }))
    .map(([value, faults]) =>
      faults.reduce<Json>((now, [at, put]) => {
        const paths = pathsIn(now);
        const path = paths[at % Math.max(1, paths.length)];
        return path === undefined || path.length === 0 ? now : withValue(now, path, put);
      }, value),
    );

it.each([
  { kind: "Pod", apiVersion: "v1", all: pods, plain: plainPod },
  { kind: "EndpointSlice", apiVersion: "discovery.k8s.io/v1", all: slices, plain: plainSlice },
])("$kind", ({ kind, apiVersion, all, plain }) => {
  for (const value of all) expect(plain(value)).toBeDefined();
  let read = 0;
  fc.assert(
    fc.property(withFaults(all), (value) => {
      const fast = plain(value);
      if (fast === undefined) return;
      read += 1;
      const { objects, problems } = parseDocument(
        { ...(value as object), kind, apiVersion },
        { where: () => ({}) },
      );
      expect(problems).toEqual([]);
      expect(objects).toEqual([expect.objectContaining({ complete: true, problems: [], value: fast })]);
    }),
    { numRuns: 5_000 },
  );
  // Else it would have compared nothing.
  expect(read).toBeGreaterThan(100);
});
