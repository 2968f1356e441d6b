// `weir get` against an agent's real socket: its output, in every format, and its exit codes. No kernel is needed.
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { POLICIES, viewsWith } from "../views.ts";
import { type CommandWorld, openCommandWorld } from "../world.ts";

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

  it("prints names that --pod accepts", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("get", "endpoints", "-o", "name")).stdout).toBe("alpha/nginx\nbeta/lost\n");
  });

  it("prints a line of JSON for each", async () => {
    await world.serve(viewsWith());
    const lines = (await world.weir("get", "policies", "-o", "ndjson")).stdout.trimEnd().split("\n");
    expect(lines.map((line) => JSON.parse(line))).toEqual(POLICIES);
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

  it("without an agent and without pins reports what is missing", async () => {
    const { exitCode, stdout, stderr } = await world.weir("get", "endpoints");
    expect({ exitCode, stdout }).toEqual({ exitCode: 4, stdout: "" });
    expect(stderr).toMatch(/^weir: nothing is pinned under \S+\/pins: \S+ is not on a BPF filesystem; /);
  });

  it("without an agent and without pins cannot filter either", async () => {
    const { exitCode, stderr } = await world.weir("get", "endpoints", "-n", "alpha");
    expect(exitCode).toBe(4);
    expect(stderr).toMatch(/^weir: nothing is pinned under /);
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

  it("prints JSON and YAML with all fields of the agent", async () => {
    await world.serve(viewsWith());
    expect(JSON.parse((await world.weir("get", "policies", "-o", "json")).stdout)).toEqual(POLICIES);
    expect(parse((await world.weir("get", "policies", "-o", "yaml")).stdout)).toEqual(POLICIES);
    expect((await world.weir("get", "policies", "-o", "name")).stdout).toBe(
      "alpha/access-nginx\nbeta/nobody\n",
    );
  });

  it("filters by pod", async () => {
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

  it("gives programs an empty list if there is none", async () => {
    await world.serve(viewsWith());
    expect((await world.weir("get", "policies", "-n", "gamma", "-o", "json")).stdout).toBe("[]\n");
  });

  it("needs the agent", async () => {
    const { exitCode, stdout, stderr } = await world.weir("get", "policies");
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toMatch(/^weir: no agent answers at \S+; policies are known to it alone .*\n$/);
  });
});
