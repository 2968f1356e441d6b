// What is kept of a pod from the API server: for this node's pods also the uid.

import { expect, it } from "vitest";
import { openInterner } from "../../../../src/source/apiserver/interning.ts";
import { type Reader, readItem } from "../../../../src/source/apiserver/resource-kinds.ts";

const READER: Reader = {
  kind: "Pod",
  served: { path: "/api/v1/pods", apiVersion: "v1", query: {} },
  node: "here",
  interner: openInterner(),
};

const read = (metadata: object, nodeName: string) =>
  readItem(
    {
      metadata: { namespace: "shop", name: "web", uid: "u1", resourceVersion: "1", ...metadata },
      spec: { nodeName, containers: [] },
    },
    READER,
  ).value;

it("a pod of this node keeps its uid, one of another node does not", () => {
  expect(read({}, "here")).toMatchObject({ node: "here", uid: "u1" });
  expect(read({}, "there")).not.toHaveProperty("uid");
});

it("a static pod's copy has the uid of the node's own file", () => {
  expect(read({ annotations: { "kubernetes.io/config.mirror": "m1" } }, "here")).toMatchObject({ uid: "m1" });
});

it("that a pod of this node is being deleted is kept: another one may have its address already", () => {
  expect(read({ deletionTimestamp: "2026-01-02T03:04:05Z" }, "here")).toMatchObject({ deleting: true });
});
