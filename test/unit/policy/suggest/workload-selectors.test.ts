// Which pods make a workload, and the labels that are chosen for it.

import { expect, it } from "vitest";
import { keyOf } from "../../../../src/model/cluster.ts";
import { selectorText } from "../../../../src/model/selector.ts";
import { workloadsOf } from "../../../../src/policy/suggest/workload-selectors.ts";
import { pod } from "../../../support/model.ts";

type Labels = Readonly<Record<string, string>>;

let number = 0;
const podOf = (key: string, labels: Labels, hostNetwork = false) => {
  number += 1;
  return pod(key, [`10.0.${number >> 8}.${number & 255}`], { labels, hostNetwork });
};

const deployed = (name: string, hash: string, labels: Labels) =>
  podOf(`shop/${name}-${hash}-x2kfz`, { ...labels, "pod-template-hash": hash });

/** "web [app=web] web-1, web-2" for each workload. */
const textOf = (...pods: readonly ReturnType<typeof pod>[]): readonly string[] =>
  workloadsOf(pods)
    .all.map(
      ({ name, selector, pods: own }) =>
        `${name} [${selectorText(selector)}] ${own.map((each) => each.name).join(", ")}`,
    )
    .sort();

it("the labels of controllers are left out, and a Deployment's versions are one workload", () => {
  const labels = { app: "web", "app.kubernetes.io/version": "1" };
  expect(
    textOf(
      deployed("web", "6d4cf56db", labels),
      deployed("web", "77bc4f", { ...labels, "app.kubernetes.io/version": "2" }),
      deployed("api", "6d4cf56db", { app: "api" }),
    ),
  ).toEqual(["api [app=api] api-6d4cf56db-x2kfz", "web [app=web] web-6d4cf56db-x2kfz, web-77bc4f-x2kfz"]);
});

it("StatefulSets, DaemonSets, Jobs and CronJobs are recognized by what their controllers write", () => {
  const set = (name: string) =>
    podOf(`shop/${name}`, { app: "db", "statefulset.kubernetes.io/pod-name": name });
  expect(
    textOf(
      set("db-0"),
      set("db-1"),
      podOf("shop/agent-bq7xk", { app: "agent", "controller-revision-hash": "5d8" }),
      podOf("shop/mail-28901234-wxkzp", { task: "mail", "job-name": "mail-28901234", "controller-uid": "a" }),
      podOf("shop/mail-28901235-bcdfg", { task: "mail", "batch.kubernetes.io/job-name": "mail-28901235" }),
      podOf("shop/once-5hj2k", { task: "once", "job-name": "once" }),
    ),
  ).toEqual([
    "agent [app=agent] agent-bq7xk",
    "db [app=db] db-0, db-1",
    "mail [task=mail] mail-28901234-wxkzp, mail-28901235-bcdfg",
    "once [task=once] once-5hj2k",
  ]);
});

it("as few labels as distinguish the workload from all others, the usual ones first", () => {
  const shared = { "app.kubernetes.io/name": "postgres", release: "r" };
  expect(
    textOf(
      deployed("a", "6d4", {
        ...shared,
        "app.kubernetes.io/instance": "a",
        "app.kubernetes.io/component": "db",
      }),
      deployed("b", "6d4", {
        ...shared,
        "app.kubernetes.io/instance": "b",
        "app.kubernetes.io/component": "db",
      }),
      deployed("c", "6d4", {
        ...shared,
        "app.kubernetes.io/instance": "b",
        "app.kubernetes.io/component": "ui",
      }),
    ),
  ).toEqual([
    "a [app.kubernetes.io/instance=a] a-6d4-x2kfz",
    "b [app.kubernetes.io/component=db,app.kubernetes.io/instance=b] b-6d4-x2kfz",
    "c [app.kubernetes.io/component=ui] c-6d4-x2kfz",
  ]);
});

it("labels that change with a release are used only where no others do", () => {
  expect(
    textOf(podOf("shop/one", { app: "x", version: "1" }), podOf("shop/two", { app: "x", version: "2" })),
  ).toEqual(
    ["one [app=x,version=1] one", "two [app=x,version=2] two"].map((text) => text.replace("app=x,", "")),
  );
});

it("a workload whose labels another one has as well is distinguished by labels that it does not have", () => {
  expect(
    textOf(
      podOf("shop/bare", {}),
      podOf("shop/web", { app: "web" }),
      podOf("shop/cache", { app: "web", tier: "c" }),
    ),
  ).toEqual(["bare [!app] bare", "cache [tier=c] cache", "web [!tier,app=web] web"]);
});

it("what no labels distinguish is one workload", () => {
  const labels = { app: "web" };
  expect(
    textOf(deployed("a", "6d4", labels), deployed("b", "6d4", labels), podOf("shop/c", { app: "c" })),
  ).toEqual(["c [app=c] c", "web [app=web] a-6d4-x2kfz, b-6d4-x2kfz"]);
});

it("pods on the host's network are none, and those of other namespaces do not count", () => {
  expect(
    textOf(
      podOf("shop/web", { app: "x" }),
      podOf("shop/host", { app: "x" }, true),
      podOf("bank/web", { app: "x" }),
    ),
  ).toEqual(["web [app=x] web", "web [app=x] web"]);
});

it("more labels than are tried in every combination are reduced one by one", () => {
  const many = Object.fromEntries(
    Array.from({ length: 14 }, (_, at) => [`key-${String(at).padStart(2, "0")}`, "v"]),
  );
  expect(
    textOf(podOf("shop/a", { ...many, zone: "1" }), podOf("shop/b", { ...many, zone: "2" })).map((text) =>
      text.replace(/\] .*/, ""),
    ),
  ).toEqual(["a [zone=1", "b [zone=2"]);
});

it("a pod that is gone is of the workload whose controller makes such names", () => {
  const template = pod("shop/cron", [], { labels: { app: "cron" } });
  const { of } = workloadsOf([
    deployed("web", "6d4cf56db", { app: "web" }),
    deployed("web-api", "6d4cf56db", { app: "api" }),
    podOf("shop/db-0", { app: "db", "statefulset.kubernetes.io/pod-name": "db-0" }),
    podOf("shop/single", { app: "single" }),
    template,
  ]);
  const nameOf = (key: string) => of(key)?.name;
  expect(nameOf("shop/web-77bc4f-zzzzz")).toBe("web");
  expect(nameOf("shop/web-api-77bc4f-zzzzz")).toBe("web-api");
  expect(nameOf("shop/db-12")).toBe("db");
  expect(nameOf("shop/cron-28901234-wxkzp")).toBe("cron");
  for (const other of [
    "shop/web-77bc4f-aaaaa",
    "shop/db-x",
    "bank/db-12",
    "shop/single-x2kfz",
    "shop/webx-77bc4f-zzzzz",
  ])
    expect(nameOf(other)).toBeUndefined();
  expect(of(keyOf(template))?.name).toBe("cron");
});
