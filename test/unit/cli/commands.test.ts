// Commands against an agent's real socket: what they print, in every format, and their exit codes. No kernel is needed.
import { createServer } from "node:net";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import type { Views } from "../../../src/observe/server.ts";
import type { EndpointView, PolicyView, StatusView } from "../../../src/observe/view.ts";
import { type CommandWorld, openCommandWorld, runIn } from "./world.ts";

const OPEN = { isolatedBy: [], policy: 0 };
const ENDPOINTS: EndpointView[] = [
  {
    namespace: "alpha",
    name: "nginx",
    addresses: ["10.63.48.10"],
    state: "enforced",
    id: 1,
    interface: "veth-a",
    ifindex: 7,
    ingress: { isolatedBy: ["alpha/access-nginx"], policy: 3 },
    egress: OPEN,
  },
  { namespace: "beta", name: "lost", addresses: [], state: "no interface", ingress: OPEN, egress: OPEN },
];

const POLICIES: PolicyView[] = [
  {
    namespace: "alpha",
    name: "access-nginx",
    selector: "run=nginx",
    types: ["Ingress"],
    rules: { ingress: 1, egress: 0 },
    selects: ["alpha/nginx"],
    enforced: 1,
  },
  {
    namespace: "beta",
    name: "nobody",
    selector: "app=none",
    types: ["Egress"],
    rules: { ingress: 0, egress: 0 },
    selects: [],
    enforced: 0,
  },
];

const STATUS: StatusView = {
  version: "9.9.9",
  pid: 4711,
  startedAt: "2025-06-01T12:00:00.000Z",
  generation: { wanted: 7, applied: 7 },
  endpoints: 1,
  policies: 2,
  problems: [],
  capacity: [],
  hook: "tcx",
  source: "/etc/weir",
};

const NAMES = {
  endpoints: {},
  addresses: {},
  identities: {},
  cidrs: {},
  policies: {},
  rows: {},
  classes: {},
};

const viewsWith = (status: Partial<StatusView> = {}): Views => ({
  status: () => ({ ...STATUS, ...status }),
  endpoints: () => ENDPOINTS,
  policies: () => POLICIES,
  names: () => NAMES,
});

let world: CommandWorld;

beforeEach(() => {
  world = openCommandWorld();
});
afterEach(() => world.close());

describe("get endpoints", () => {
  it("prints a table", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("get", "endpoints")).toEqual({
      exitCode: 0,
      stdout: [
        "NAMESPACE   POD     INTERFACE   ID   ADDRESSES     INGRESS        EGRESS   STATE",
        "alpha       nginx   veth-a      1    10.63.48.10   access-nginx   open     enforced",
        "beta        lost    -           -    -             open           open     no interface",
        "",
      ].join("\n"),
      stderr: "",
    });
  });

  it("leaves out titles, other namespaces and other pods", async () => {
    await world.serve(viewsWith());
    const line = "alpha   nginx   veth-a   1   10.63.48.10   access-nginx   open   enforced\n";
    expect((await world.weir("get", "endpoints", "-n", "alpha", "--no-headers")).stdout).toBe(line);
    expect((await world.weir("get", "endpoints", "--pod", "alpha/nginx", "--no-headers")).stdout).toBe(line);
  });

  it("prints names that --pod takes", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("get", "endpoints", "-o", "name")).stdout).toBe("alpha/nginx\nbeta/lost\n");
  });

  it("finds nothing: a remark for a namespace, exit code 4 for a pod", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("get", "endpoints", "-n", "gamma")).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "weir: no endpoints found in namespace gamma\n",
    });
    expect(await world.weir("get", "endpoints", "--pod", "alpha/apache")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: "weir: no pod alpha/apache on this node\n",
    });
  });

  it("without an agent and without pins says what is missing", async () => {
    const { exitCode, stdout, stderr } = await world.weir("get", "endpoints");
    expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
    expect(stderr).toBe(`weir: nothing is pinned under ${world.bpffs}: \`weir run\` has not been there\n`);
  });

  it("without an agent has no names to choose by", async () => {
    const { exitCode, stderr } = await world.weir("get", "endpoints", "-n", "alpha");
    expect(exitCode).toBe(1);
    expect(stderr).toContain(`no agent answers at ${world.socket}; without it pods have no names`);
  });
});

describe("get policies", () => {
  it("prints a table, wide or not", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("get", "policies")).stdout).toBe(
      [
        "NAMESPACE   NAME           SELECTOR    TYPES     PODS   STATE",
        "alpha       access-nginx   run=nginx   Ingress      1   enforced",
        "beta        nobody         app=none    Egress       0   selects no pod here",
        "",
      ].join("\n"),
    );
    expect((await world.weir("get", "policies", "-o", "wide", "-n", "alpha")).stdout).toMatch(
      /SELECTS +UNREADABLE\n/,
    );
  });

  it("prints JSON and YAML with all that the agent says", async () => {
    await world.serve(viewsWith());
    expect(JSON.parse((await world.weir("get", "policies", "-o", "json")).stdout)).toEqual(POLICIES);
    expect(parse((await world.weir("get", "policies", "-o", "yaml")).stdout)).toEqual(POLICIES);
    expect((await world.weir("get", "policies", "-o", "name")).stdout).toBe(
      "alpha/access-nginx\nbeta/nobody\n",
    );
  });

  it("chooses those of a pod", async () => {
    await world.serve(viewsWith());
    const of = (pod: string) => world.weir("get", "policies", "-o", "name", "--pod", pod);
    expect(await of("alpha/nginx")).toMatchObject({ exitCode: 0, stdout: "alpha/access-nginx\n" });
    expect(await of("beta/lost")).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: "weir: no policies found that select beta/lost\n",
    });
    expect(await of("beta/none")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: "weir: no pod beta/none on this node\n",
    });
  });

  it("gives programs an empty list where there is none", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("get", "policies", "-n", "gamma", "-o", "json")).stdout).toBe("[]\n");
  });

  it("needs the agent", async () => {
    const { exitCode, stdout, stderr } = await world.weir("get", "policies");
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toMatch(/^weir: no agent answers at \S+; policies are known to it alone .*\n$/);
  });
});

describe("status", () => {
  it("is 0 when all is enforced", async () => {
    await world.serve(viewsWith());
    const { exitCode, stdout, stderr } = await world.weir("status");
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    expect(stdout).toMatch(/^ok: 1 endpoint, 2 policies, all enforced \(tcx\)\n/);
  });

  it.each([
    ["there is a problem", { problems: [{ severity: "warning", reason: "odd" }] } as const],
    ["the kernel lags behind", { generation: { wanted: 8, applied: 7 } }],
  ])("is 1 when %s", async (_, change) => {
    await world.serve(viewsWith(change));
    const { exitCode, stdout } = await world.weir("status");
    expect(exitCode).toBe(1);
    expect(stdout).toMatch(/^degraded: /);
  });

  it("is 2 without an agent", async () => {
    const { exitCode, stdout, stderr } = await world.weir("status");
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: "" });
    expect(stdout).toMatch(/^down: no agent answers, and nothing is enforced\n/);
  });

  it("is 2 when the agent hangs, and says so", async () => {
    const server = createServer(() => undefined);
    await new Promise<void>((resolve) => server.listen(world.socket, resolve));
    const { exitCode, stdout } = await world.weir("status");
    server.close();
    expect(exitCode).toBe(2);
    expect(stdout).toContain("no answer within 3000 ms");
  });

  it("gives programs fields that stay", async () => {
    const problem = { severity: "error", file: "a.yaml", line: 3, reason: "bad" } as const;
    await world.serve(viewsWith({ problems: [problem] }));
    expect(JSON.parse((await world.weir("status", "-o", "json")).stdout)).toEqual({
      health: "degraded",
      agent: {
        running: true,
        socket: world.socket,
        pid: 4711,
        version: "9.9.9",
        startedAt: "2025-06-01T12:00:00.000Z",
        hook: "tcx",
        source: "/etc/weir",
      },
      generation: { wanted: 7, applied: 7 },
      endpoints: 1,
      policies: 2,
      problems: [{ ...problem, text: "a.yaml:3: bad" }],
      capacity: [],
    });
  });

  it("has colours on a terminal only, and not against NO_COLOR", async () => {
    await world.serve(viewsWith());
    const args = ["status", "--socket", world.socket, "--bpffs", world.bpffs];
    const green = "\u001b[32m";
    expect((await runIn(args)).stdout).not.toContain("\u001b");
    expect((await runIn(args, { terminal: true })).stdout).toContain(green);
    expect((await runIn(args, { terminal: true, variables: { NO_COLOR: "1" } })).stdout).not.toContain(
      "\u001b",
    );
    expect((await runIn(args, { terminal: true, variables: { NO_COLOR: "" } })).stdout).toContain(green);
  });
});

describe("maps", () => {
  it.each([["list"], ["dump", "cidrs"], ["dump", "cidrs", "--raw"]].map((words) => [words.join(" "), words]))(
    "%s says that nothing is there",
    async (_, words) => {
      const { exitCode, stdout, stderr } = await world.weir("maps", ...words);
      expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
      expect(stderr).toBe(`weir: nothing is pinned under ${world.bpffs}: \`weir run\` has not been there\n`);
    },
  );

  it("dump names the tables where there is no such", async () => {
    expect(await world.weir("maps", "dump", "cidrs_v4")).toEqual({
      exitCode: 4,
      stdout: "",
      stderr:
        "weir: no table cidrs_v4; there are cidrs, addresses, endpoints, policy, ports, rows, conntrack, counters, fragments, node\n",
    });
  });
});

describe("cleanup", () => {
  it("refuses while an agent runs", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("cleanup")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: "weir: an agent runs (pid 4711) and would put everything back; end it first, or use --force\n",
    });
  });

  it.each([[[]], [["--dry-run"]]])("%j finds nothing to remove", async (words) => {
    expect(await world.weir("cleanup", ...words)).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: `weir: nothing of Weir is under ${world.bpffs} or on an interface\n`,
    });
  });

  it("does what it is told with --force", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("cleanup", "--force")).exitCode).toBe(0);
  });
});

describe("version", () => {
  it("names every part, and the agent's where it runs", async () => {
    const without = await world.weir("version");
    expect(without).toMatchObject({ exitCode: 0, stderr: "" });
    expect(without.stdout).toMatch(
      /^weir: +\d+\.\d+\.\d+\nagent: +not running\nlibbpf: +\d\S+\nlayout: +[0-9a-f]{16}\nkernel: +\S+\nnode: +\S+\n$/,
    );
    await world.serve(viewsWith());
    expect(JSON.parse((await world.weir("version", "-o", "json")).stdout)).toMatchObject({ agent: "9.9.9" });
  });
});

describe("run", () => {
  it("does not start where there is no such directory", async () => {
    expect(await world.weir("run", "--manifests", `${world.bpffs}/none`)).toEqual({
      exitCode: 4,
      stdout: "",
      stderr: `weir: ${world.bpffs}/none does not exist\n`,
    });
  });

  it("does not start beside another agent", async () => {
    await world.serve(viewsWith());
    expect(await world.weir("run", "--manifests", ".")).toEqual({
      exitCode: 1,
      stdout: "",
      stderr: `weir: another agent runs (pid 4711, at ${world.socket}); one node has one\n`,
    });
  });
});
