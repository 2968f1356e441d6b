// `weir diff` of manifests and of an agent: the exact table, its data, and exit codes.
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { viewsWith } from "./views.ts";
import { type CommandWorld, openCommandWorld, runIn } from "./world.ts";

const SHOP = "test/fixtures/shop/cluster";
const CHANGE = "test/fixtures/shop/change/db.yaml";

const diff = (...args: readonly string[]) => runIn(["diff", "--manifests", SHOP, ...args]);

const SCOPE = "5 pods in 4 classes, 4 ranges of addresses";

describe("of manifests", () => {
  it("shows what opens and what closes", async () => {
    expect(await diff("-f", CHANGE)).toEqual({
      exitCode: 3,
      stdout: [
        "CHANGE    FROM                                  TO        PORTS",
        "allowed   batch/report                          shop/db   TCP/5432",
        "denied    192.0.2.0/24 but not 192.0.2.128/25   shop/db   TCP/5432,TCP/9000-9010",
        "",
      ].join("\n"),
      stderr: `weir: compared: ${SCOPE}\n`,
    });
    expect((await diff("-f", CHANGE, "--no-headers")).stdout).toMatch(/^allowed /);
  });

  it("finds nothing if nothing changes", async () => {
    expect(await diff("-f", SHOP)).toEqual({
      exitCode: 0,
      stdout: "",
      stderr: `weir: nothing would change (compared: ${SCOPE})\n`,
    });
    expect(JSON.parse((await diff("-f", SHOP, "-o", "json")).stdout).flips).toEqual([]);
  });

  it("removes what the change does not have, on request", async () => {
    const { exitCode, stdout } = await diff("-f", CHANGE, "--prune", "--no-headers");
    expect(exitCode).toBe(3);
    expect(stdout.split("\n")[0]).toBe(
      "allowed   batch/report, pods of shop with app=web, every address outside   pods of shop with app=web   all",
    );
  });

  it("has the same as data", async () => {
    expect(JSON.parse((await diff("-f", CHANGE, "-o", "json")).stdout)).toEqual({
      flips: [
        {
          change: "allowed",
          from: { text: "batch/report", pods: ["batch/report"], addresses: [] },
          to: { text: "shop/db", pods: ["shop/db"], addresses: [] },
          ports: "TCP/5432",
        },
        {
          change: "denied",
          from: { text: "192.0.2.0/24 but not 192.0.2.128/25", pods: [], addresses: ["192.0.2.0/24"] },
          to: { text: "shop/db", pods: ["shop/db"], addresses: [] },
          ports: "TCP/5432,TCP/9000-9010",
        },
      ],
      considered: { pods: 5, classes: 4, prefixes: 4, names: 0, leftOut: [] },
    });
  });

  it("reports which pods it could not compare, and accepts the standard input", async () => {
    const pod =
      "apiVersion: v1\nkind: Pod\nmetadata: { name: new, namespace: shop }\nspec: { containers: [] }\n";
    const stdin = () => Readable.from([Buffer.from(pod)]);
    const { exitCode, stderr } = await runIn(["diff", "--manifests", SHOP, "-f", "-"], { stdin });
    expect(exitCode).toBe(0);
    expect(stderr).toContain("weir: not compared, because they exist only before or after: shop/new\n");
  });

  let directory: string;
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-diff-"));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));

  it("refuses a change with an error", async () => {
    const file = join(directory, "bad.yaml");
    writeFileSync(
      file,
      "apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: a }\nspec: { podSelector: {}, a: 1 }\n",
    );
    const { exitCode, stdout, stderr } = await diff("-f", file);
    expect({ exitCode, stdout }).toEqual({ exitCode: 1, stdout: "" });
    expect(stderr).toMatch(
      /^weir: \S+bad\.yaml:4:\d+: NetworkPolicy default\/a: spec\.a: unknown field[^\n]*\n$/,
    );
  });

  it("reports errors in the current manifests, which fail closed", async () => {
    writeFileSync(join(directory, "bad.yaml"), "a: [");
    const { exitCode, stderr } = await runIn(["diff", "--manifests", directory, "-f", CHANGE]);
    expect(exitCode).toBe(0);
    expect(stderr).toMatch(/^weir: \S+bad\.yaml:1:\d+: /);
  });

  it("needs a change", async () => {
    expect(await diff()).toMatchObject({
      exitCode: 2,
      stderr: expect.stringContaining("'-f, --filename <path>' not specified"),
    });
  });
});

describe("of an agent", () => {
  let world: CommandWorld;
  beforeEach(() => {
    world = openCommandWorld();
  });
  afterEach(() => world.close());

  it("compares with the agent's policies", async () => {
    await world.serve(viewsWith());
    const change = `apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata: { name: access-nginx, namespace: alpha }
spec: { podSelector: {} }
`;
    const file = join(world.bpffs, "..", "change.yaml");
    writeFileSync(file, change);
    expect(await world.weir("diff", "-f", file)).toMatchObject({
      exitCode: 3,
      stdout: "CHANGE   FROM          TO            PORTS\ndenied   beta/friend   alpha/nginx   TCP/80\n",
    });
  });
});
