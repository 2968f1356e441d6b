// What is kept of a pod: of 10 kB of JSON a few hundred bytes, and nothing of its original text.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, test } from "vitest";
import { openInterner } from "../../../../src/source/apiserver/interning.ts";
import { openStore } from "../../../../src/source/apiserver/object-store.ts";
import { readItem, SERVED } from "../../../../src/source/apiserver/resource-kinds.ts";

const PODS = 10_000;

/** A pod as an API server sends it: much text, little of it used. */
function textOf(index: number): string {
  const app = `app-${index % 200}`;
  const ip = `10.${index >> 14}.${(index >> 7) & 127}.${index & 127}`;
  const variable = (_: unknown, number: number) => ({ name: `VARIABLE_${number}`, value: "y".repeat(60) });
  return JSON.stringify({
    metadata: {
      name: `${app}-7d4b9c6f5-${index.toString(36).padStart(5, "x")}`,
      namespace: `team-${index % 20}`,
      uid: `3d1e6b5e-5d0c-4f0e-9f0a-${index.toString(16).padStart(12, "0")}`,
      resourceVersion: String(1_000_000 + index),
      labels: { app, "pod-template-hash": `7d4b9c6f5${index % 200}`, tier: "backend", release: app },
      annotations: { note: "x".repeat(5_000) },
    },
    spec: {
      nodeName: `node-${index % 100}`,
      containers: [
        {
          name: "main",
          image: `registry.example/${app}:1.2.3`,
          ports: [{ containerPort: 8080, name: "http", protocol: "TCP" }],
          env: Array.from({ length: 40 }, variable),
        },
      ],
    },
    status: { phase: "Running", podIP: ip, podIPs: [{ ip }] },
  });
}

test("a pod of 10 kB takes a few hundred bytes", () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const heap = (): number => {
    for (let times = 0; times < 4; times += 1) collect();
    return process.memoryUsage().heapUsed;
  };
  const store = openStore(false, () => undefined);
  const reader = { kind: "Pod", served: SERVED.Pod[0], node: "node-x", interner: openInterner() } as const;
  const put = (from: number, to: number): void => {
    const writer = store.writer();
    for (let index = from; index < to; index += 1) writer.put(readItem(JSON.parse(textOf(index)), reader));
  };
  expect(textOf(1).length).toBeGreaterThan(8_500);
  // The first half warms up: code, and the tables that grow by doubling.
  put(0, PODS / 2);
  const before = heap();
  put(PODS / 2, PODS);
  const bytes = (heap() - before) / (PODS / 2);
  console.info(`${bytes.toFixed(0)} bytes for a pod of ${textOf(1).length}, its place in the map included`);
  expect(store.size()).toBe(PODS);
  expect(bytes).toBeLessThan(450);
});
