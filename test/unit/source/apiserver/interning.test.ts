// What is kept once: equal labels and ports of objects that come near each other, and nothing for ever.

import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { expect, it } from "vitest";
import { openInterner } from "../../../../src/source/apiserver/interning.ts";

const labelsOf = (app: string, hash: string) =>
  new Map([
    ["app", app],
    ["pod-template-hash", hash],
  ]);

it("gives equal labels and ports as one object, and other ones as they are", () => {
  const { labels, ports } = openInterner();
  const one = labels(labelsOf("web", "1"));
  expect(labels(labelsOf("web", "2"))).toEqual(labelsOf("web", "2"));
  expect(labels(labelsOf("web", "1"))).toBe(one);
  expect(labels(new Map([...labelsOf("web", "1")].reverse()))).not.toBe(one);
  const http = { name: "http", port: 80, protocol: "TCP" } as const;
  const list = ports([http]);
  expect(ports([{ ...http, port: 81 }])).toEqual([{ ...http, port: 81 }]);
  expect(ports([{ ...http }])).toBe(list);
});

it("forgets labels that no object has had for long, and keeps those that come again and again", async () => {
  setFlagsFromString("--expose-gc");
  const collect = runInNewContext("gc") as () => void;
  const { labels } = openInterner();
  const lasting = labels(labelsOf("web", "lasting"));
  const gone = new WeakRef(labels(labelsOf("web", "gone")));
  for (let index = 0; index < 40_000; index += 1) {
    labels(labelsOf("web", `rollout-${index}`));
    if (index % 1_000 === 0) expect(labels(labelsOf("web", "lasting"))).toBe(lasting);
  }
  // A WeakRef keeps its object until the end of the job that made it.
  await new Promise((resolve) => setImmediate(resolve));
  collect();
  expect(gone.deref()).toBeUndefined();
});
