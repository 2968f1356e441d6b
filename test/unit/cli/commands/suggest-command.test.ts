// `weir suggest`: what it writes, that its YAML means the policies that were suggested, its filters, and bad input.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import fc from "fast-check";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { suggestionsList, suggestionsYaml } from "../../../../src/cli/suggest-report.ts";
import { type Cluster, keyOf, toWire } from "../../../../src/model/cluster.ts";
import {
  type ObservedFlow,
  type SuggestOptions,
  suggest,
} from "../../../../src/policy/suggest/suggest-policies.ts";
import { readForLint } from "../../../../src/source/manifests/lint-manifests.ts";
import { address, cluster, namespace, pod } from "../../../support/model.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld } from "../world.ts";

const PODS = `
apiVersion: v1
kind: Pod
metadata: {name: web-6d4cf56db-x2kfz, namespace: shop, labels: {app: web, pod-template-hash: 6d4cf56db}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.0.0.1}]}
---
apiVersion: v1
kind: Pod
metadata: {name: web-6d4cf56db-x2kf4, namespace: shop, labels: {app: web, pod-template-hash: 6d4cf56db}}
spec: {containers: [{name: c, ports: [{name: http, containerPort: 8080}]}]}
status: {podIPs: [{ip: 10.0.0.2}]}
---
apiVersion: v1
kind: Pod
metadata: {name: db-0, namespace: bank, labels: {app: db, statefulset.kubernetes.io/pod-name: db-0}}
spec: {containers: [{name: c}]}
status: {podIPs: [{ip: 10.0.0.3}]}
---
apiVersion: v1
kind: Pod
metadata: {name: dns, namespace: kube-system, labels: {k8s-app: kube-dns}}
spec: {containers: [{name: c, ports: [{name: dns, protocol: UDP, containerPort: 53}]}]}
status: {podIPs: [{ip: 10.0.0.53}]}
---
apiVersion: v1
kind: Service
metadata: {name: dns, namespace: kube-system}
spec: {clusterIP: 10.96.0.10, selector: {k8s-app: kube-dns}, ports: [{protocol: UDP, port: 53}]}
---
apiVersion: v1
kind: Service
metadata: {name: nobody, namespace: shop}
spec: {clusterIP: 10.96.0.11, selector: {app: nobody}, ports: [{port: 80}]}
---
apiVersion: v1
kind: Service
metadata: {name: db, namespace: bank}
spec: {clusterIP: 10.96.0.12, externalIPs: [203.0.113.9], selector: {app: db}, ports: [{port: 80, targetPort: 5432}]}
`;

const WEB = "shop/web-6d4cf56db-x2kfz";

interface Seen {
  readonly at: string;
  readonly direction: "ingress" | "egress";
  /** "TCP 10.0.0.1 10.0.0.3 5432", with pods in parentheses. */
  readonly of: string;
  readonly second?: number;
  readonly reason?: string;
}

const POD_AT: Readonly<Record<string, string>> = {
  "10.0.0.1": WEB,
  "10.0.0.2": "shop/web-6d4cf56db-x2kf4",
  "10.0.0.3": "bank/db-0",
  "10.0.0.53": "kube-system/dns",
  "10.0.0.99": "shop/web-77bc4f-zzzzz",
  "10.0.0.98": "shop/gone",
};

function eventLine({ at, direction, of, second = 0, reason = "audit" }: Seen): string {
  const [protocol, from = "", to = "", port] = of.split(" ");
  const end = (text: string, number: number) => ({
    ...{ address: text, port: number },
    ...(POD_AT[text] === undefined ? {} : { pod: POD_AT[text] }),
  });
  const event = {
    time: new Date(Date.UTC(2026, 10, 30, 0, 0, second)).toISOString(),
    verdict: reason === "denied" ? "dropped" : "audit",
    ...{ reason, direction, opener: direction, endpoint: at, ifindex: 4, protocol },
    ...(protocol === "TCP" ? { opens: true } : {}),
    from: end(from, 50_000),
    to: end(to, Number(port)),
    ...{ bytes: 74, generation: 1, identity: 1, policies: [], text: "" },
  };
  return `${JSON.stringify(event)}\n`;
}

const SEEN: readonly Seen[] = [
  { at: WEB, direction: "egress", of: "TCP 10.0.0.1 10.0.0.3 5432", second: 1 },
  { at: WEB, direction: "egress", of: "TCP 10.0.0.1 10.0.0.3 5432", second: 3 },
  { at: WEB, direction: "egress", of: "UDP 10.0.0.1 10.96.0.10 53" },
  { at: WEB, direction: "egress", of: "TCP 10.0.0.1 192.0.2.0 443" },
  { at: WEB, direction: "egress", of: "TCP 10.0.0.1 192.0.2.1 443" },
  { at: WEB, direction: "ingress", of: "TCP 10.0.0.3 10.0.0.1 8080" },
];

const EXPECTED = `# shop/web: 2 pods, 1 of them observed
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: suggested-web
  namespace: shop
spec:
  podSelector:
    matchLabels:
      app: web
  policyTypes:
    - Ingress
    - Egress
  ingress:
    # 1 flow at 2026-11-30T00:00:00Z, such as bank/db-0 to shop/web-6d4cf56db-x2kfz TCP/8080
    - from:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: bank
          podSelector:
            matchLabels:
              app: db
      ports:
        - protocol: TCP
          port: http
  egress:
    # 2 flows from 2026-11-30T00:00:01Z to 2026-11-30T00:00:03Z, such as shop/web-6d4cf56db-x2kfz to bank/db-0 TCP/5432
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: bank
          podSelector:
            matchLabels:
              app: db
      ports:
        - protocol: TCP
          port: 5432
    # 1 flow at 2026-11-30T00:00:00Z, such as shop/web-6d4cf56db-x2kfz to 10.96.0.10 UDP/53
    - to:
        - namespaceSelector:
            matchLabels:
              kubernetes.io/metadata.name: kube-system
          podSelector:
            matchLabels:
              k8s-app: kube-dns
      ports:
        - protocol: TCP
          port: 53
        - protocol: UDP
          port: dns
    # 2 flows from 2026-11-30T00:00:00Z to 2026-11-30T00:00:00Z, such as shop/web-6d4cf56db-x2kfz to 192.0.2.0 TCP/443
    - to:
        - ipBlock:
            cidr: "192.0.2.0/31"
      ports:
        - protocol: TCP
          port: 443
`;

let directory: string;
let world: CommandWorld;
let file: string;

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "wt-suggest-"));
  writeFileSync(join(directory, "pods.yaml"), PODS);
});
beforeEach(() => {
  world = openCommandWorld();
  file = join(directory, "flows.json");
  writeFileSync(file, SEEN.map(eventLine).join(""));
  return () => world.close();
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const suggested = (...args: readonly string[]) =>
  world.weir("suggest", "--manifests", join(directory, "pods.yaml"), ...args);

describe("weir suggest", () => {
  it("writes a policy for the workload that was observed, with its evidence", async () => {
    expect(await suggested(file)).toEqual({ exitCode: 0, stdout: EXPECTED, stderr: "" });
  });

  it("reads the standard input, and the agent's events and cluster", async () => {
    const text = SEEN.map(eventLine).join("");
    const other = openCommandWorld({ stdin: () => Readable.from([Buffer.from(text)]) });
    const args = ["suggest", "-", "--manifests", join(directory, "pods.yaml")];
    expect((await other.weir(...args)).stdout).toBe(EXPECTED);
    await other.close();
    const { reading } = await readForLint([join(directory, "pods.yaml")]);
    await world.serve(
      { ...viewsWith(), cluster: () => ({ generation: 1, cluster: toWire(reading.cluster) }) },
      [
        {
          method: "GET",
          path: "events",
          answer: () => SEEN.map((each) => JSON.parse(eventLine(each)) as object),
        },
      ],
    );
    expect(await world.weir("suggest")).toEqual({ exitCode: 0, stdout: EXPECTED, stderr: "" });
  });

  it("as JSON it is a List of the same policies", async () => {
    const { stdout } = await suggested(file, "-o", "json");
    const list = JSON.parse(stdout) as {
      kind: string;
      items: { metadata: object; spec: { egress: object[] } }[];
    };
    expect(list).toMatchObject({ apiVersion: "v1", kind: "List" });
    expect(list.items).toHaveLength(1);
    expect(list.items[0]).toMatchObject({ metadata: { name: "suggested-web", namespace: "shop" } });
    expect(list.items[0]?.spec.egress).toHaveLength(3);
  });

  it("has filters by time, direction, namespace, pod and labels", async () => {
    const types = async (...args: readonly string[]) =>
      [...(await suggested(file, ...args)).stdout.matchAll(/^ {4}- ((?:In|E)gress)$/gm)].map(
        ([, type]) => type,
      );
    expect(await types("--direction", "ingress")).toEqual(["Ingress"]);
    expect(await types("--since", "2026-11-30T00:00:01Z")).toEqual(["Egress"]);
    expect(await types("--pod", WEB, "-n", "shop", "-l", "app=web")).toEqual(["Ingress", "Egress"]);
    for (const args of [
      ["-n", "bank"],
      ["-l", "app=db"],
      ["--pod", "bank/db-0"],
    ]) {
      const { exitCode, stderr } = await suggested(file, ...args);
      expect({ exitCode, stderr }).toEqual({
        exitCode: 4,
        stderr: "weir: 1 workload was observed, but none that the options select\n",
      });
    }
    expect(await suggested(file, "--pod", "shop/nobody")).toMatchObject({
      exitCode: 4,
      stderr: "weir: no pod shop/nobody\n",
    });
  });

  it("names ports by number, widens networks, marks audit mode and leaves out DNS on request", async () => {
    const { stdout } = await suggested(file, "--port-numbers", "--outside", "networks", "--mode", "audit");
    expect(stdout).toContain("port: 8080");
    expect(stdout).toContain('cidr: "192.0.2.0/24"');
    expect(stdout).toContain("annotations:\n    weir.dev/mode: audit\n");
    writeFileSync(file, eventLine({ at: WEB, direction: "egress", of: "TCP 10.0.0.1 10.0.0.3 5432" }));
    expect((await suggested(file)).stdout).toContain("# DNS, which was not seen\n");
    expect((await suggested(file, "--no-dns")).stdout).not.toContain("kube-system");
  });

  it("a network around an outside address holds nothing of the cluster's", async () => {
    writeFileSync(file, eventLine({ at: WEB, direction: "egress", of: "TCP 10.0.0.1 10.0.0.200 443" }));
    const { stdout } = await suggested(file, "--outside", "networks");
    expect(stdout).toContain('cidr: "10.0.0.200/32"');
  });

  it("allows an address of externalIPs beside the backends, as both are judged", async () => {
    const allowed = async (to: string) => {
      writeFileSync(file, eventLine({ at: WEB, direction: "egress", of: `TCP 10.0.0.1 ${to} 80` }));
      const { stdout } = await suggested(file, "--no-dns", "-o", "json");
      const list = JSON.parse(stdout) as { items: { spec: { egress: object[] } }[] };
      return list.items.flatMap(({ spec }) => spec.egress);
    };
    const toDatabase = {
      to: [
        {
          namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "bank" } },
          podSelector: { matchLabels: { app: "db" } },
        },
      ],
      ports: [{ protocol: "TCP", port: 5432 }],
    };
    const toAddress = {
      to: [{ ipBlock: { cidr: "203.0.113.9/32" } }],
      ports: [{ protocol: "TCP", port: 80 }],
    };
    expect(await allowed("10.96.0.12")).toEqual([toDatabase]);
    expect(await allowed("203.0.113.9")).toEqual([toDatabase, toAddress]);
  });

  it("pods that are gone count where their names show the workload, and are reported elsewhere", async () => {
    const of = (at: string) => `TCP 10.0.0.1 ${at} 9090`;
    const seen = ["10.0.0.99", "10.0.0.98", "10.96.0.11"].map(
      (at): Seen => ({ at: WEB, direction: "egress", of: of(at) }),
    );
    // The Service's port.
    const toService = seen.map((each) => ({ ...each, of: each.of.replace(/(10\.96\.0\.11) 9090/, "$1 80") }));
    writeFileSync(
      file,
      [...toService, { at: WEB, direction: "egress", of: "TCP 10.0.0.1 10.0.0.1 80" } as const]
        .map(eventLine)
        .join(""),
    );
    const { stdout, stderr } = await suggested(file);
    expect(stdout).toContain(
      "such as shop/web-6d4cf56db-x2kfz to shop/web-77bc4f-zzzzz TCP/9090\n    - to:\n        - podSelector:\n            matchLabels:\n              app: web",
    );
    expect(stderr).toBe(
      [
        "weir: 1 flow not used: of pods that no longer exist, and whose names show no workload",
        "weir: 1 flow not used: to Services without backends",
        "weir: 1 flow not used: of a pod to itself",
        "",
      ].join("\n"),
    );
  });

  it("what was dropped is allowed only on request", async () => {
    writeFileSync(
      file,
      eventLine({ at: WEB, direction: "egress", of: "TCP 10.0.0.1 10.0.0.3 5432", reason: "denied" }),
    );
    expect(await suggested(file)).toEqual({
      exitCode: 4,
      stdout: "",
      stderr:
        "weir: 1 event not used: they were dropped, and are not allowed (see --denied)\n" +
        "weir: no flow of a pod was observed; see: weir suggest --help\n",
    });
    expect((await suggested(file, "--denied")).stdout).toContain("port: 5432");
  });

  it("a direction in which nothing was seen is isolated only where all would have been reported", async () => {
    writeFileSync(file, eventLine({ at: WEB, direction: "ingress", of: "TCP 10.0.0.3 10.0.0.1 8080" }));
    expect((await suggested(file)).stdout).not.toContain("- Egress");
    const audited = join(directory, "audited");
    rmSync(audited, { recursive: true, force: true });
    const policy = `---
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: {name: all, namespace: shop, annotations: {weir.dev/mode: audit}}
spec: {podSelector: {}, policyTypes: [Ingress, Egress]}
`;
    writeFileSync(audited, PODS + policy);
    const { stdout } = await world.weir("suggest", file, "--manifests", audited);
    expect(stdout).toContain("# shop/web: 2 pods, 1 of them observed; no egress was seen\n");
    expect(stdout).toContain("- Egress");
    rmSync(audited);
  });

  it("bad input is one error, with its place", async () => {
    writeFileSync(file, `${eventLine(SEEN[0] as Seen)}\n{"time":1}\n`);
    expect(await suggested(file)).toMatchObject({
      exitCode: 1,
      stdout: "",
      stderr: expect.stringMatching(
        /flows\.json:3 is not an event of `weir monitor -f -o json`: `time` is not a time/,
      ),
    });
    writeFileSync(file, `{"${"x".repeat(200_000)}`);
    expect((await suggested(file)).stderr).toMatch(
      /flows\.json:1 is not an event .*longer than 65536 characters/,
    );
    expect(await suggested(join(directory, "nothing"))).toMatchObject({ exitCode: 4, stdout: "" });
    expect(await suggested(directory)).toMatchObject({ exitCode: 1, stdout: "" });
    expect((await suggested(file, "--outside", "all")).exitCode).toBe(2);
    expect((await world.weir("suggest")).stderr).toContain("no agent answers");
  });
});

describe("the YAML", () => {
  const flow = (from: string, to: string, port: number): ObservedFlow => ({
    from: { pods: [from], address: undefined },
    to: to.includes("/") ? { pods: [to], address: undefined } : { pods: [], address: address(to) },
    ...{ protocol: "TCP", port, seenAt: "egress", count: 1 },
    ...{ first: "2026-11-30T00:00:00.000Z", last: "2026-11-30T00:00:00.000Z" },
  });
  const options: SuggestOptions = {
    directions: ["ingress", "egress"],
    isWanted: () => true,
    outside: "addresses",
    portNames: true,
    keepsDns: true,
    mode: "enforce",
  };

  async function expectSame(of: Cluster, flows: readonly ObservedFlow[]): Promise<string> {
    const { policies } = suggest(of, flows, options);
    const text = suggestionsYaml(policies);
    for (const each of [text, JSON.stringify(suggestionsList(policies))]) {
      const { reading } = await readForLint([{ name: "suggested.yaml", content: { ok: true, text: each } }]);
      expect(reading.problems).toEqual([]);
      const read = [...reading.cluster.policies.values()].map((policy) => toWire(policy));
      expect(read).toEqual(policies.map(({ policy }) => toWire(policy)));
    }
    return text;
  }

  it("quotes what a reader of YAML could take for something else than a text", async () => {
    const values = [
      "on",
      "Yes",
      "n",
      "null",
      "1e3",
      "0x1F",
      "010",
      "1_000",
      "2001-01-01",
      "",
      "12",
      "true",
      "5.0",
    ];
    const pods = values.map((value, at) =>
      pod(`shop/p${at}`, [`10.1.0.${at + 1}`], {
        labels: { [["y", "no", "1", "constructor"][at % 4] as string]: value },
      }),
    );
    const of = cluster({
      namespaces: [namespace("shop"), namespace("on")],
      pods: [...pods, pod("on/x", ["10.1.1.1"])],
    });
    const flows = pods.flatMap((each, at) => [
      flow(keyOf(each), "on/x", 80),
      flow(keyOf(each), keyOf(pods[(at + 1) % pods.length] ?? each), 81),
    ]);
    const text = await expectSame(of, flows);
    expect(text).toContain('kubernetes.io/metadata.name: "on"');
    expect(text).toMatch(/"y": "on"/);
  });

  it("means the same policies for any labels, and addresses of both families", async () => {
    const label = fc.stringMatching(/^[A-Za-z0-9]([A-Za-z0-9_.-]{0,6}[A-Za-z0-9])?$/);
    const labels = fc.dictionary(label, fc.oneof(label, fc.constant("")), { maxKeys: 3 });
    await fc.assert(
      fc.asyncProperty(fc.array(labels, { minLength: 2, maxLength: 5 }), async (all) => {
        const pods = all.map((own, at) => pod(`shop/p${at}`, [`10.1.0.${at + 1}`], { labels: own }));
        const flows = pods.flatMap((each) => [
          ...["192.0.2.7", "2001:db8::1", "0.0.0.1"].map((to) => flow(keyOf(each), to, 80)),
          ...pods.filter((other) => other !== each).map((other) => flow(keyOf(each), keyOf(other), 443)),
        ]);
        await expectSame(cluster({ namespaces: [namespace("shop")], pods }), flows);
      }),
      { numRuns: 60 },
    );
  });
});
