// `weir trace` of manifests and of an agent without a kernel: the exact text, its data, and exit codes.
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { judgeRoute } from "../../../../src/agent/packet-judge.ts";
import type { PacketQuery } from "../../../../src/datapath/shadow-instance.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld, runIn } from "../world.ts";

const SHOP = "test/fixtures/shop/cluster";
const CHANGE = "test/fixtures/shop/change/db.yaml";

const trace = (line: string) => runIn(["trace", "--manifests", SHOP, ...line.split(" ")]);

describe("of manifests", () => {
  it("reports which rule allows", async () => {
    expect(await trace("--from shop/web-1 --to shop/db --port 5432")).toEqual({
      exitCode: 0,
      stdout: `allowed: TCP/5432 from shop/web-1 (10.244.1.11, fd00:244:1::11) to shop/db (10.244.1.13, fd00:244:1::13)
  egress of shop/web-1: not isolated
  ingress of shop/db: isolated by shop/db
    allowed by shop/db ingress[0].from[0].ports[0] (${SHOP}/policies.yaml:8)
`,
      stderr: "",
    });
  });

  it("reports what the nearest rule requires, at both ends", async () => {
    expect(await trace("--from shop/db --to 10.244.1.11 --protocol ICMP")).toEqual({
      exitCode: 3,
      stdout: `denied: ICMP from shop/db (10.244.1.13) to shop/web-1 (10.244.1.11)
  egress of shop/db: isolated by shop/db; there is no rule
  ingress of shop/web-1: isolated by shop/web; no rule matches
    nearest: shop/web ingress[0].from[0] (${SHOP}/policies.yaml:19) requires
      a pod with app=gateway (shop/db has app=db)
`,
      stderr: "",
    });
  });

  describe("of a cluster policy with domain names", () => {
    const NAMES = `apiVersion: policy.networking.k8s.io/v1alpha2
kind: ClusterNetworkPolicy
metadata: { name: shop-egress }
spec:
  tier: Admin
  priority: 20
  subject: { namespaces: {} }
  egress:
    - name: api
      action: Accept
      to: [{ domainNames: [api.example.com, "*.example.net"] }]
      protocols: [{ tcp: { destinationPort: { number: 443 } } }]
    - { name: rest, action: Deny, to: [{ networks: [0.0.0.0/0, "::/0"] }] }
`;
    const ask = async (...more: readonly string[]): Promise<readonly string[]> => {
      const of = ["--from", "shop/web-1", "--to", "198.51.100.7", ...more];
      const stdin = () => Readable.from([Buffer.from(NAMES)]);
      const { stdout } = await runIn(["trace", "--manifests", SHOP, "-f", "-", ...of], { stdin });
      return stdout.split("\n").filter((line) => /^\S|egress|accepted/.test(line));
    };
    const ends = "from shop/web-1 (10.244.1.11) to 198.51.100.7";
    const denied =
      '  egress of shop/web-1: denied by shop-egress (Admin, priority 20) egress[1] "rest" (<stdin>:13)';
    const missing =
      "    accepted as an address of api.example.com, *.example.net, once the pod has resolved it (try --name)";

    it("shows the rule that decides, where it is, and which names would be accepted", async () => {
      expect(await ask("--port", "443")).toEqual([
        `denied (allowed before): TCP/443 ${ends}`,
        denied,
        missing,
      ]);
    });

    it("shows for which ports they would", async () => {
      expect(await ask()).toEqual([
        `denied (allowed before): TCP/0-442 ${ends}`,
        denied,
        `denied (allowed before): TCP/443 ${ends}`,
        denied,
        missing,
        `denied (allowed before): TCP/444-65535 ${ends}`,
        denied,
      ]);
    });

    it("shows no names where the pod is supposed to have resolved one", async () => {
      expect(await ask("--port", "443", "--name", "www.example.com")).toEqual([
        `denied (allowed before): TCP/443 ${ends}`,
        denied,
      ]);
      expect(await ask("--port", "443", "--name", "a.example.net")).toEqual([
        `allowed (as before): TCP/443 ${ends}`,
        '  egress of shop/web-1: accepted by shop-egress (Admin, priority 20) egress[0] "api", by the name a.example.net (<stdin>:9)',
      ]);
    });
  });

  it("shows families separately if they differ", async () => {
    const { stdout } = await trace("--from 192.0.2.1 --to shop/db --port 9000");
    expect(stdout.split("\n")[0]).toBe("allowed: TCP/9000 from 192.0.2.1 to shop/db (10.244.1.13)");
    expect(stdout.split("\n")[1]).toContain("no policy applies");
  });

  it("is 3 if some of many ports are denied", async () => {
    const { exitCode, stdout } = await trace("--from shop/web-1 --to shop/db");
    expect(exitCode).toBe(3);
    expect(stdout.match(/^(?:allowed|denied): TCP\/\S+/gm)).toEqual([
      "denied: TCP/0-5431",
      "allowed: TCP/5432",
      "denied: TCP/5433-65535",
    ]);
  });

  it("judges a change, and reports the verdict before it", async () => {
    const { exitCode, stdout } = await trace(`--from batch/report --to shop/db --port 5432 -f ${CHANGE}`);
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(/^allowed \(denied before\): TCP\/5432 /);
    expect(stdout).toContain(`allowed by shop/db ingress[0].from[1].ports[0] (${CHANGE}:11)`);
    const same = await trace(`--from shop/web-1 --to shop/db --port 5432 -f ${CHANGE}`);
    expect(same.stdout).toMatch(/^allowed \(as before\): /);
  });

  it("reports why no policy applies", async () => {
    const host =
      "apiVersion: v1\nkind: Pod\nmetadata: { name: host, namespace: shop }\nspec: { hostNetwork: true, containers: [] }\nstatus: { podIP: 192.0.2.1 }\n";
    const stdin = () => Readable.from([Buffer.from(host)]);
    const line = [
      "trace",
      "--manifests",
      SHOP,
      "-f",
      "-",
      "--from",
      "shop/host",
      "--to",
      "shop/db",
      "--port",
      "9000",
    ];
    const { exitCode, stdout } = await runIn(line, { stdin });
    expect(exitCode).toBe(0);
    expect(stdout).toContain(
      "  egress of shop/host: no policy applies (a host-network pod, here as if it ran on another node:",
    );
    expect((await trace("--from 192.0.2.1 --to shop/db")).stdout).toContain(
      "no policy applies (it is not a pod's address)\n",
    );
  });

  it("has the same as data", async () => {
    const line = "--from 192.0.2.200 --to shop/db --port 9000-9010";
    const expected = {
      allowed: false,
      paths: [
        {
          from: { address: "192.0.2.200" },
          to: { pod: "shop/db", address: "10.244.1.13" },
          protocol: "TCP",
          ports: "9000-9010",
          allowed: false,
          egress: { verdict: "not-applicable", isolatedBy: [], allowedBy: [] },
          ingress: {
            verdict: "denied",
            isolatedBy: [{ policy: "shop/db" }],
            allowedBy: [],
            nearest: {
              policy: "shop/db",
              rule: "ingress[1]",
              peer: "from[0]",
              at: `${SHOP}/policies.yaml:10`,
              wants: ["an address outside 192.0.2.128/25, which 192.0.2.0/24 excepts (it is 192.0.2.200)"],
            },
          },
        },
      ],
    };
    expect(JSON.parse((await trace(`${line} -o json`)).stdout)).toEqual(expected);
    expect(parse((await trace(`${line} -o yaml`)).stdout)).toEqual(expected);
  });

  it.each([
    [4, "--from shop/wbe-1 --to shop/db --port 1", "no pod or Service shop/wbe-1; did you mean shop/web-1?"],
    [
      2,
      "--from shop/web --to shop/db --port 1",
      "shop/web is a Service's: a connection comes from a pod or an address",
    ],
    [4, "--from shop/db --to shop/web --port sql", "Service shop/web has no TCP port called sql"],
    [4, "--from shop/db --to batch/report --port http", "pod batch/report declares no TCP port called http"],
    [
      2,
      "--from web --to shop/db --port 1",
      '"web" is neither NAMESPACE/NAME nor an address: not an IP address',
    ],
    [2, "--from shop/db --to 192.0.2.1 --port 99999", "port 99999 is beyond 65535"],
    [2, "--from fd00::1 --to 192.0.2.1", "the ends have no family in common: fd00::1 and 192.0.2.1"],
    [4, "--from shop/db --to 192.0.2.1 --manifests no/where", "no/where does not exist"],
    [
      1,
      "--from shop/db --to 192.0.2.1 -f no/where",
      "no/where: cannot be read: ENOENT: no such file or directory",
    ],
  ])("is %i for %s", async (exitCode, line, reason) => {
    expect(await trace(line)).toEqual({ exitCode, stdout: "", stderr: `weir: ${reason}\n` });
  });

  it("gives pods without an address one, and workloads a pod", async () => {
    const deployment = `apiVersion: apps/v1
kind: Deployment
metadata: { name: front, namespace: shop }
spec: { template: { metadata: { labels: { app: gateway } }, spec: { containers: [{ name: a }] } } }
`;
    const stdin = () => Readable.from([Buffer.from(deployment)]);
    const line = [
      "trace",
      "--manifests",
      SHOP,
      "-f",
      "-",
      "--from",
      "shop/front",
      "--to",
      "shop/web-1",
      "--port",
      "1",
    ];
    const { exitCode, stdout } = await runIn(line, { stdin });
    expect(exitCode).toBe(0);
    expect(stdout).toMatch(
      /^allowed: TCP\/1 from shop\/front \(198\.18\.0\.1\) to shop\/web-1 \(10\.244\.1\.11\)\n/,
    );
  });
});

describe("of an agent", () => {
  let world: CommandWorld;
  beforeEach(() => {
    world = openCommandWorld();
  });
  afterEach(() => world.close());

  it("queries the agent, and shows why the kernel was not queried", async () => {
    const judge = judgeRoute(() => undefined);
    await world.serve(viewsWith(), [judge]);
    expect(await world.weir("trace", "--from", "beta/friend", "--to", "alpha/nginx", "--port", "80")).toEqual(
      {
        exitCode: 0,
        stdout: `allowed: TCP/80 from beta/friend (10.63.48.11) to alpha/nginx (10.63.48.10)
  egress of beta/friend: not isolated
  ingress of alpha/nginx: isolated by alpha/access-nginx
    allowed by alpha/access-nginx ingress[0].from[0].ports[0]
kernel: not queried: query the agent at ${world.socket}: status 500: the agent is starting
`,
        stderr: "",
      },
    );
  });

  it("has the agent judge the packet, and is 5 if the kernel's verdict is another", async () => {
    const asked: PacketQuery[] = [];
    const judged = {
      generation: 7,
      verdicts: [{ program: "to_pod", passes: false, reason: "denied" }],
    };
    const judge = async (queries: readonly PacketQuery[]) => {
      asked.push(...queries);
      return judged;
    };
    await world.serve(viewsWith(), [judgeRoute(() => ({ judge, close: async () => undefined }))]);
    const { exitCode, stdout } = await world.weir(
      ..."trace --from beta/friend --to alpha/nginx --port 80".split(" "),
    );
    expect(exitCode).toBe(5);
    expect(stdout).toContain("  kernel: to_pod on veth-a drops it (denied): DISAGREES\n");
    expect(asked).toEqual([
      { ifindex: 7, id: 1, ingressIfindex: 1, direction: "ingress", frame: expect.any(Uint8Array) },
    ]);
  });

  it("leaves the kernel out on request", async () => {
    await world.serve(viewsWith());
    const { exitCode, stdout } = await world.weir(
      "trace",
      "--from",
      "beta/friend",
      "--to",
      "alpha/nginx",
      "--no-kernel",
    );
    expect(exitCode).toBe(3);
    expect(stdout).not.toContain("kernel");
  });

  it("does not query the kernel if neither end is here", async () => {
    await world.serve(viewsWith());
    const { exitCode, stdout } = await world.weir("trace", "--from", "beta/friend", "--to", "192.0.2.1");
    expect(exitCode).toBe(0);
    expect(stdout).toContain("kernel: not queried: neither end is an interface of this node\n");
  });

  it("needs an agent", async () => {
    expect(await world.weir("trace", "--from", "a/b", "--to", "a/c")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `weir: no agent answers at ${world.socket}; use --manifests DIR without one\n`,
    });
  });
});
