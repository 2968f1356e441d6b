// Watches that end in abnormal ways, each in its own: afterwards the state is right, and nothing was missed.

import { expect, test } from "vitest";
import { line } from "./server.ts";
import { openWorld, pod, type World } from "./world.ts";

/** What happens to the watch of pods, and the reason with which it is then listed or watched again. */
const BREAKS: readonly (readonly [string, (world: World) => void, "lists" | "watches", string])[] = [
  [
    "an event that is cut off with its connection",
    ({ server }) => {
      server.write("Pod", line({ type: "DELETED", object: pod("web-1", "10.0.0.1") }).slice(0, 40));
      server.end("Pod", "breaks");
    },
    "watches",
    "broken",
  ],
  [
    "an event that is cut off by an end in good order",
    ({ server }) => {
      server.write("Pod", '{"type":"DELE');
      server.end("Pod");
    },
    "watches",
    "broken",
  ],
  [
    "a line that is no JSON",
    ({ server }) => server.write("Pod", "<html>bad gateway</html>\n"),
    "lists",
    "unreadable",
  ],
  [
    "half an event on a line of its own",
    ({ server }) => server.write("Pod", '{"type":"ADDED","obj\n'),
    "lists",
    "unreadable",
  ],
  [
    "bytes that are no text",
    ({ server }) => server.write("Pod", Buffer.from([0x7b, 0xff, 0xfe, 0x0a])),
    "lists",
    "unreadable",
  ],
  [
    "an event of an unknown type",
    ({ server }) => server.write("Pod", line({ type: "REPLACED", object: {} })),
    "lists",
    "unreadable",
  ],
  [
    "an event without an object",
    ({ server }) => server.write("Pod", line({ type: "ADDED" })),
    "lists",
    "unreadable",
  ],
  [
    "an object without a name",
    ({ server }) => server.write("Pod", line({ type: "DELETED", object: { metadata: {} } })),
    "lists",
    "unreadable",
  ],
  [
    "an object of another kind",
    ({ server }) =>
      server.write(
        "Pod",
        line({ type: "DELETED", object: { ...pod("web-1", "10.0.0.1"), kind: "Service" } }),
      ),
    "lists",
    "unreadable",
  ],
  [
    "an object without a version",
    ({ server }) => server.write("Pod", line({ type: "DELETED", object: pod("web-1", "10.0.0.1") })),
    "lists",
    "unreadable",
  ],
  [
    "410 in an event",
    ({ server }) =>
      server.write("Pod", line({ type: "ERROR", object: { kind: "Status", code: 410, message: "too old" } })),
    "lists",
    "expired",
  ],
  [
    "another error in an event",
    ({ server }) =>
      server.write("Pod", line({ type: "ERROR", object: { kind: "Status", code: 500, message: "etcd" } })),
    "watches",
    "failed",
  ],
  [
    "a version that goes back",
    ({ server }) => {
      const { metadata, ...rest } = pod("ghost", "10.0.0.99");
      server.write(
        "Pod",
        line({ type: "ADDED", object: { ...rest, metadata: { ...metadata, resourceVersion: "7" } } }),
      );
    },
    "lists",
    "rewound",
  ],
  ["a connection that breaks", ({ server }) => server.end("Pod", "breaks"), "watches", "broken"],
  ["an end in good order", ({ server }) => server.end("Pod"), "watches", "ended"],
  [
    "an expired version at the next watch",
    ({ objects, server }) => {
      objects.remove("Pod", "shop/web-3");
      objects.compact();
      server.end("Pod");
    },
    "lists",
    "expired",
  ],
];

test.each(BREAKS)("%s", async (name, happens, what, reason) => {
  const world = await openWorld();
  await world.converged("the first list");
  happens(world);
  // No event reports these: they have to be found, whatever is done about the watch.
  world.objects.put("Pod", pod("late", "10.0.0.50"));
  world.objects.remove("Pod", "shop/web-2");
  await world.converged(name);
  expect(world.kind("Pod")[what][reason]).toBeGreaterThan(0);
  world.server.put("Pod", pod("later", "10.0.0.51"));
  await world.converged(`an event after ${name}`);
});
