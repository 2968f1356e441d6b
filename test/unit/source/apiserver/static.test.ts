// Static pods: the runtime uses the kubelet's own uid, and their mirror at the server has another.

import { expect, test } from "vitest";
import type { Pod } from "../../../../src/model/cluster.ts";
import { openInterner } from "../../../../src/source/apiserver/interning.ts";
import { readItem, SERVED } from "../../../../src/source/apiserver/resource-kinds.ts";

const read = (annotations: Readonly<Record<string, string>>) =>
  readItem(
    {
      metadata: { namespace: "shop", name: "web", uid: "server's", annotations },
      spec: { nodeName: "self" },
    },
    { kind: "Pod", served: SERVED.Pod[0], node: "self", interner: openInterner() },
  );

test("a pod has its uid, and a static one that of the kubelet", () => {
  const uids = [{}, { "kubernetes.io/config.mirror": "kubelet's" }].map((annotations) => {
    const { uid, value } = read(annotations);
    return [uid, (value as Pod).uid];
  });
  expect(uids).toEqual([
    ["server's", "server's"],
    ["server's", "kubelet's"],
  ]);
});
