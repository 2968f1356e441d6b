// `weir describe` of an agent and of manifests: the exact text, its data, and exit codes.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { viewsWith } from "./views.ts";
import { type CommandWorld, openCommandWorld, runIn } from "./world.ts";

let world: CommandWorld;

beforeEach(() => {
  world = openCommandWorld();
});
afterEach(() => world.close());

describe("describe endpoint", () => {
  it("shows the agent's data on a pod here", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("describe", "endpoint", "alpha/nginx")).toEqual({
      exitCode: 0,
      stdout: `Name:         nginx
Namespace:    alpha
Labels:       run=nginx
Addresses:    10.63.48.10
Ports:        <none>
State:        enforced
Interface:    veth-a (index 7)
Endpoint:     1
Ingress:      isolated by alpha/access-nginx
  alpha/access-nginx:
    To Port: 80/TCP
    From:
      NamespaceSelector: <none>
      PodSelector: access=true
Egress:       not isolated
`,
      stderr: "",
    });
  });

  it("shows a pod of another node too", async () => {
    await world.serve(viewsWith());
    const { exitCode, stdout } = await world.weir("describe", "endpoint", "beta/friend", "-o", "json");
    expect(exitCode).toBe(0);
    expect(JSON.parse(stdout)).toEqual({
      namespace: "beta",
      name: "friend",
      labels: { access: "true" },
      addresses: ["10.63.48.11"],
      ports: [],
      state: "not on this node",
      ingress: { policies: [] },
      egress: { policies: [] },
    });
  });

  it("is 4 if the pod does not exist, 1 if that is unknown", async () => {
    const without = await world.weir("describe", "endpoint", "alpha/apache");
    expect(without).toMatchObject({ exitCode: 1, stdout: "" });
    expect(without.stderr).toMatch(/^weir: no agent answers at \S+; use --manifests DIR without one\n$/);
    await world.serve(viewsWith());
    expect(await world.weir("describe", "endpoint", "alpha/ngnix")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: "weir: no pod alpha/ngnix; did you mean alpha/nginx?\n",
    });
  });
});

describe("describe policy", () => {
  it("shows on which pods it is enforced", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("describe", "policy", "alpha/access-nginx")).toEqual({
      exitCode: 0,
      stdout: `Name:         access-nginx
Namespace:    alpha
Spec:
  PodSelector:     run=nginx
  Allowing ingress traffic:
    To Port: 80/TCP
    From:
      NamespaceSelector: <none>
      PodSelector: access=true
  Not affecting egress traffic
  Policy Types: Ingress
Pods:
  NAME          ADDRESSES     STATE
  alpha/nginx   10.63.48.10   enforced
`,
      stderr: "",
    });
  });

  it("is 4 if the policy does not exist", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("describe", "policy", "alpha/access")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: "weir: no policy alpha/access; did you mean alpha/access-nginx?\n",
    });
  });
});

describe("describe of manifests", () => {
  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-describe-"));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  const policy = (name: string, spec: string): string =>
    `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: a }\nspec: ${spec}\n---\n`;
  const POD =
    "apiVersion: v1\nkind: Pod\nmetadata: { name: host, namespace: a }\nspec: { hostNetwork: true, containers: [] }\nstatus: { podIP: 10.0.0.1 }\n";

  const show = async (kind: string, name: string) =>
    (await runIn(["describe", kind, name, "--manifests", directory])).stdout.replaceAll(directory, "dir");

  it("writes every form of a rule as kubectl does", async () => {
    const rules = `
  podSelector: {}
  policyTypes: [Ingress, Egress]
  ingress:
  - {}
  - from: [{ namespaceSelector: { matchExpressions: [{ key: team, operator: In, values: [red, blue] }] } }]
    ports: [{ protocol: UDP }, { port: 53, protocol: SCTP }]
  egress:
  - to: [{ podSelector: {} }, { ipBlock: { cidr: 10.0.0.0/8 } }]`;
    writeFileSync(join(directory, "all.yaml"), policy("p", rules));
    expect(await show("policy", "a/p")).toBe(`Name:         p
Namespace:    a
Read from:    dir/all.yaml:1
Spec:
  PodSelector:     <none> (Allowing the specific traffic to all pods in this namespace)
  Allowing ingress traffic:
    To Port: <any> (traffic allowed to all ports)
    From: <any> (traffic not restricted by source)
    ----------
    To Port: <any>/UDP
    To Port: 53/SCTP
    From:
      NamespaceSelector: team in (blue,red)
  Allowing egress traffic:
    To Port: <any> (traffic allowed to all ports)
    To:
      PodSelector: <none>
    To:
      IPBlock:
        CIDR: 10.0.0.0/8
        Except:
  Policy Types: Ingress, Egress
Pods:         <none>
`);
  });

  it("shows unreadable parts by their effect", async () => {
    writeFileSync(
      join(directory, "all.yaml"),
      [
        policy("p", "{ podSelector: {}, tier: 1, ingress: [{}] }"),
        policy(
          "q",
          "{ podSelector: {}, ingress: [{ from: [{ podSelector: {} }, {}], ports: [{ port: 0 }] }] }",
        ),
        POD,
      ].join(""),
    );
    const { stdout, stderr } = await runIn(["describe", "policy", "a/p", "--manifests", directory]);
    expect(stderr).toContain("spec.tier: unknown field");
    expect(stdout).toContain("\n    <none> (the policy cannot be read)\n");
    expect(stdout).toMatch(/^Unreadable: {3}.*; it isolates its pods and allows nothing$/m);
    const partly = (await runIn(["describe", "policy", "a/q", "--manifests", directory])).stdout;
    expect(partly).toMatch(
      /^Left out: {5}spec\.ingress\[0\]\.from\[1\]: is empty.* \(and 1 more\); it allows nothing, the rest of the policy is used$/m,
    );
    expect(partly).toContain(
      "    To Port: <nothing>\n    From:\n      PodSelector: <none>\n    From:\n      <nothing>\n",
    );
  });

  it("reports that a host-network pod is exempt", async () => {
    writeFileSync(join(directory, "all.yaml"), policy("p", "{ podSelector: {} }") + POD);
    expect(await show("endpoint", "a/host")).toContain(
      "Exempt:       host network: policies do not select it\n",
    );
    const { stdout } = await runIn([
      "describe",
      "endpoint",
      "a/host",
      "--manifests",
      directory,
      "-o",
      "yaml",
    ]);
    expect(parse(stdout)).toMatchObject({ exempt: "host network", ingress: { policies: [] } });
  });
});
