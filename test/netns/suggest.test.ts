// `weir suggest` from end to end: pods in audit mode are observed, the policies suggested from it are enforced, and then the same
// connections pass and others do not.

import { spawn } from "node:child_process";
import { createWriteStream, readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { EventView } from "../../src/events/packet-event.ts";
import type { PodSpec } from "../../src/lab/lab-manifests.ts";
import type { Agent } from "../../src/lab/weir-process.ts";
import { mismatchesOf } from "./reach.ts";
import { openWorld, type World } from "./world.ts";

const PATIENCE_MS = 60_000;

const pod = (name: string, number: number, labels: PodSpec["labels"]): PodSpec => ({
  name,
  labels,
  addresses: [`10.63.71.${number}`, `fd63:71::${number}`],
  tcp: [80, 5432],
  udp: [53],
});

const hashed = { "pod-template-hash": "6d4cf56db" };
const PODS: readonly PodSpec[] = [
  pod("shop/web-6d4cf56db-x2kfz", 1, { app: "web", ...hashed }),
  pod("shop/web-6d4cf56db-bcdfg", 2, { app: "web", ...hashed }),
  pod("shop/db-0", 3, { app: "db", "statefulset.kubernetes.io/pod-name": "db-0" }),
  pod("bank/client", 4, { app: "client" }),
  pod("bank/stranger", 5, { app: "stranger" }),
];

/** Isolates all pods of the namespace, and drops nothing. */
const OBSERVED = ["shop", "bank"]
  .map(
    (namespace) => `
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: observed, namespace: ${namespace}, annotations: { weir.dev/mode: audit } }
spec: { podSelector: {}, policyTypes: [Ingress, Egress] }
`,
  )
  .join("---");

/** What is seen: of the two web pods one. */
const SEEN = `
  bank/client               -> shop/web-6d4cf56db-x2kfz tcp/80 : 46
  shop/web-6d4cf56db-x2kfz  -> shop/db-0 tcp/5432 : 46
  shop/db-0                 -> bank/client udp/53 : 46`;

/** What follows from it: the other web pod has the same labels. */
const ENFORCED = `${SEEN}
  bank/client               -> shop/web-6d4cf56db-bcdfg tcp/80 : 46
  shop/web-6d4cf56db-bcdfg  -> shop/db-0 tcp/5432 : 46
  bank/client               -> shop/web-6d4cf56db-x2kfz tcp/5432 : --
  bank/client               -> shop/db-0 tcp/5432 : --
  bank/stranger             -> shop/web-6d4cf56db-x2kfz tcp/80 : --
  bank/stranger             -> shop/db-0 tcp/5432 : --
  shop/web-6d4cf56db-x2kfz  -> shop/web-6d4cf56db-bcdfg tcp/80 : --
  shop/web-6d4cf56db-x2kfz  -> bank/client udp/53 tcp/80 : --
  shop/db-0                 -> shop/web-6d4cf56db-x2kfz tcp/80 : --`;

let world: World;
let agent: Agent;
let flows: string;

beforeAll(async () => {
  world = await openWorld({
    ...{ prefix: "wt-suggest", namespaces: { shop: {}, bank: {} }, pods: PODS },
    files: { "observed.yaml": OBSERVED },
  });
  agent = await world.start();
  flows = join(world.manifests.path, "..", "flows.json");
});

afterAll(() => world?.close());

const eventsIn = (file: string): readonly EventView[] =>
  readFileSync(file, "utf8")
    .split("\n")
    .slice(0, -1)
    .map((line) => JSON.parse(line) as EventView);

it(
  "observes the connections of pods in audit mode",
  async () => {
    const { bin, socket, bpffs } = world.paths;
    const args = [
      "monitor",
      "-f",
      "--flows",
      "-o",
      "json",
      "--last",
      "0",
      "--socket",
      socket,
      "--bpffs",
      bpffs,
    ];
    const monitor = spawn(bin, args, { stdio: ["ignore", "pipe", "inherit"] });
    try {
      const file = createWriteStream(flows);
      monitor.stdout.pipe(file);
      // Both ends of each, in both families; a monitor that does not follow yet misses some.
      const ends = ["shop/web-6d4cf56db-x2kfz", "shop/db-0", "bank/client"];
      const isComplete = (): boolean => {
        const opened = eventsIn(flows).filter(({ protocol, opens }) => protocol === "UDP" || opens === true);
        return ends.every((endpoint) =>
          (["ingress", "egress"] as const).every((direction) =>
            ["10.63.71.", "fd63:71::"].every((family) =>
              opened.some(
                (event) =>
                  event.endpoint === endpoint &&
                  event.direction === direction &&
                  event.to.address?.startsWith(family) === true,
              ),
            ),
          ),
        );
      };
      for (const deadline = Date.now() + PATIENCE_MS; ; await sleep(50)) {
        expect(await mismatchesOf(world.lab, SEEN)).toEqual([]);
        if (isComplete()) break;
        if (Date.now() > deadline)
          throw new Error(`not all is in the events: ${readFileSync(flows, "utf8")}`);
      }
    } finally {
      const ended = new Promise((resolve) => monitor.once("close", resolve));
      monitor.kill("SIGTERM");
      await ended;
    }
  },
  2 * PATIENCE_MS,
);

it("suggests policies that allow these, and no others", async () => {
  const { status, stdout, stderr } = await world.weir("suggest", flows, "--no-dns");
  expect({ status, stderr }).toEqual({ status: 0, stderr: "" });
  expect([...stdout.matchAll(/^ {2}name: (.*)$/gm)].map(([, name]) => name)).toEqual([
    "suggested-client",
    "suggested-db",
    "suggested-web",
  ]);
  expect(stdout).not.toMatch(/ipBlock|pod-template-hash|pod-name/);
  await agent.change(() => {
    world.manifests.put("suggested.yaml", stdout);
    world.manifests.remove("observed.yaml");
  });
  expect(await mismatchesOf(world.lab, ENFORCED)).toEqual([]);
  const linted = await world.weir("lint", "-f", world.manifests.path);
  expect({ status: linted.status, errors: linted.stdout.match(/\berror\b.*/g) }).toEqual({
    status: 0,
    errors: null,
  });
});
