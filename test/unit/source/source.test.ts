// A change of source, from manifests to the API server and back: what was the last good content of files is that no longer.

import { existsSync, mkdirSync, truncateSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { expect, test } from "vitest";
import { openLog } from "../../../src/base/log.ts";
import { readManifests } from "../../../src/source/manifests/manifest-watch.ts";
import { openSource } from "../../../src/source/source.ts";
import { NODE, openWorld } from "./apiserver/world.ts";
import { policyYaml } from "./support.ts";

test.each([
  ["removes the copies of manifests once its content is in force", false],
  ["leaves the copies of manifests while it cannot be reached", true],
] as const)("an API server %s", async (_, down) => {
  const world = await openWorld({ down });
  const [kept, directory] = [join(world.directory, "kept"), join(world.directory, "manifests")];
  const file = join(directory, "p.yaml");
  mkdirSync(directory);
  writeFileSync(file, policyYaml("{ podSelector: {} }", "{ name: a, namespace: shop }"));
  await readManifests(directory, { kept });

  const source = await openSource(
    {
      kind: "apiserver",
      credentials: { from: "kubeconfig", path: join(world.directory, "kubeconfig") },
      node: NODE,
      timing: { retryMs: [20, 200], troubleMs: 100 },
    },
    {
      log: openLog({ level: "error", format: "text", write: () => undefined, now: () => new Date() }),
      now: () => new Date(),
      version: "test",
      kept,
    },
  );
  const stop = new AbortController();
  const first = await new Promise<boolean>((resolve, reject) => {
    source.watch(({ readable }) => resolve(readable), stop.signal).catch(reject);
  });
  stop.abort();
  expect(first).toBe(!down);
  await expect.poll(() => existsSync(kept)).toBe(down);

  truncateSync(file);
  const { cluster } = await readManifests(directory, { kept });
  expect([...cluster.policies.keys()]).toEqual(down ? ["shop/a"] : []);
});
