// `weir test`: its output in each format, and its exit codes.
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { type Folder, OPEN, openFolder, SHOP, WRONG } from "../test-files.ts";
import { runIn } from "../world.ts";

let folder: Folder;
let right: string;
let wrong: string;
let open: string;

beforeAll(() => {
  folder = openFolder();
  right = folder.write("right.yaml", SHOP);
  wrong = folder.write("wrong.yaml", WRONG);
  open = folder.write("open.yaml", OPEN);
});
afterAll(() => folder.close());

describe("as text", () => {
  it("a case that passes is a line, with notes of what was not compared", async () => {
    expect(await folder.test(right)).toEqual({
      exitCode: 0,
      stderr: "",
      stdout: `ok    shop/web: the web server is for the frontend (2 steps: 18 passed, 3 open; 0 s)
      note: 1 unsupported by oracle: policies do not apply between a node and its own pods
      note: 1 not compared, by the case
      note: implementation-defined: shop/web: step 2 (for nobody): ICMP from shop/frontend to shop/web (10.0.0.2 to 10.0.0.1): expected allowed, oracle says blocked: egress of shop/frontend is not isolated; ingress of shop/web is isolated by shop/web, nothing allows ICMP from shop/frontend

1 case, 2 steps on oracle in 0 s; 3 open (not compared, as noted above)
18 passed, 0 failed
`,
    });
  });

  it("a failure is reported with the engine's result, and the verdict and rule of both ends", async () => {
    const { exitCode, stdout, stderr } = await folder.test("--engine", "plan", wrong);
    expect({ exitCode, stderr }).toEqual({ exitCode: 1, stderr: "" });
    expect(stdout.split("\n").filter((line) => !line.includes("note: "))).toEqual([
      "FAIL  shop/wrong: the web server is for the frontend (2 steps: 16 passed, 2 failed, 3 open; 0 s)",
      "      step 1 (for the frontend): TCP/8080 from shop/batch to shop/web (10.0.0.3 to 10.0.0.1)",
      "        expected allowed, plan says blocked",
      "          egress: not isolated, ingress: denied",
      "          by the API, egress of shop/batch is not isolated",
      "          by the API, ingress of shop/web is isolated by shop/web, nothing allows TCP/8080 from shop/batch",
      "      step 2 (for nobody): TCP/8080 from shop/frontend to shop/web (10.0.0.2 to 10.0.0.1)",
      "        expected allowed, plan says blocked",
      "          egress: not isolated, ingress: denied",
      "          by the API, egress of shop/frontend is not isolated",
      "          by the API, ingress of shop/web is isolated by shop/web, nothing allows TCP/8080 from shop/frontend",
      "          the case's reason: closed for the night",
      "",
      "1 case, 2 steps on plan in 0 s; 3 open (not compared, as noted above)",
      "16 passed, 2 failed",
      "",
    ]);
  });

  it("the rule that allows something is named", async () => {
    const leaky = folder.write(
      "leaky/case.yaml",
      SHOP.replace('TCP/8080: ["L..", ".L.", "X.L"]', 'TCP/8080: ["L..", "XL.", "X.L"]'),
    );
    expect((await folder.test(leaky)).stdout).toContain(
      "          ingress of shop/web: TCP/8080 from shop/frontend is allowed by shop/web ingress[0].from[0].ports[0]\n",
    );
  });

  it("of very many failures the first are reported, and how many more there are", async () => {
    const blocked = Array.from({ length: 40 }, (_, port) => `        TCP/${port + 1}: ["LXX", "XLX", "XXL"]`);
    const many = folder.write(
      "many/case.yaml",
      SHOP.replace(/ {8}TCP\/8080[\s\S]*?(?=\n {2}- name)/, blocked.join("\n")),
    );
    const { stdout } = await folder.test(many);
    expect(stdout.match(/expected blocked, oracle says allowed/g)).toHaveLength(25);
    expect(stdout).toMatch(/\n {6}and 135 more failures; -o json has all of them\n/);
    expect(stdout).toMatch(/\n\d+ passed, 160 failed\n$/);
  });

  it("names in a case cannot control the terminal, nor forge the last line", async () => {
    const hostile = folder.write(
      "hostile/case.yaml",
      WRONG.replace("id: shop/wrong", String.raw`id: "\e[2J\n9 passed, 0 failed\n"`),
    );
    const { stdout } = await folder.test(hostile);
    expect(stdout).not.toContain("\u001b");
    expect(stdout.match(/^\d+ passed, \d+ failed$/gm)).toEqual(["16 passed, 2 failed"]);
  });
});

describe("as JSON", () => {
  it("is one object, with every failure", async () => {
    const { exitCode, stdout } = await folder.test("-o", "json", right, wrong);
    expect(exitCode).toBe(1);
    const facts = { case: "shop/wrong", protocol: "TCP", port: 8080, expected: "allowed", got: "blocked" };
    expect(JSON.parse(stdout)).toEqual({
      engine: "oracle",
      cases: 2,
      steps: 4,
      passed: 34,
      failed: 2,
      open: 6,
      failures: [
        {
          ...facts,
          step: "step 1 (for the frontend)",
          from: "shop/batch",
          to: "shop/web",
          why:
            "egress of shop/batch is not isolated\n" +
            "ingress of shop/web is isolated by shop/web, nothing allows TCP/8080 from shop/batch",
        },
        {
          ...facts,
          step: "step 2 (for nobody)",
          from: "shop/frontend",
          to: "shop/web",
          why: expect.stringContaining("\nthe case's reason: closed for the night"),
        },
      ],
    });
  });

  it("has no failures if there is none", async () => {
    const { exitCode, stdout } = await folder.test("-o", "json", "--engine", "plan", right);
    expect({ exitCode, ...JSON.parse(stdout) }).toEqual({
      exitCode: 0,
      engine: "plan",
      cases: 1,
      steps: 2,
      passed: 18,
      failed: 0,
      open: 3,
      failures: [],
    });
  });
});

describe("exit codes", () => {
  it.each([
    ["all as expected", () => [right], 0, ""],
    ["one cell is not", () => [right, wrong], 1, ""],
    [
      "nothing was compared",
      () => [open],
      1,
      "weir: nothing was compared: engine oracle could judge no cell\n",
    ],
    ["nothing was selected", () => ["--filter", "^none$", right], 1, "weir: no case was selected\n"],
    ["something was, beside a case that is open", () => [right, open], 0, ""],
  ] as const)("%s", async (_, args, expected, remark) => {
    const { exitCode, stderr } = await folder.test(...args());
    expect({ exitCode, stderr }).toEqual({ exitCode: expected, stderr: remark });
  });

  it("a case without comparisons reports that", async () => {
    expect((await folder.test(open)).stdout).toMatch(
      /^open {2}shop\/open: .* \(1 step: 0 passed, 9 open; 0 s\)\n/,
    );
  });

  it.each([
    ["", /missing required argument 'paths'; see: weir test --help/],
    ["--engine paper x.yaml", /Allowed choices are oracle, plan, kernel, live/],
    ["-o xml x.yaml", /Allowed choices are text, json, yaml, junit/],
    ["--filter ( x.yaml", /Invalid regular expression.*; see: weir test --help/],
  ])("weir test %s: wrong usage", async (line, reason) => {
    const { exitCode, stdout, stderr } = await runIn(["test", ...line.split(" ").filter(Boolean)]);
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    expect(stderr).toMatch(/^weir: [^\n]+\n$/);
    expect(stderr).toMatch(reason);
  });
});

describe("the choice of cases", () => {
  const idsIn = (stdout: string): string[] =>
    [...stdout.matchAll(/^(?:ok|FAIL|open) +(\S+):/gm)].map(([, id]) => id ?? "");

  it("is by id and name", async () => {
    expect(idsIn((await folder.test("--filter", "/w", right, wrong, open)).stdout)).toEqual([
      "shop/web",
      "shop/wrong",
    ]);
    expect(idsIn((await folder.test("--filter", "server is for", right)).stdout)).toEqual(["shop/web"]);
  });

  it("is by features: a case must have all of them", async () => {
    const egress = folder.write(
      "egress/case.yaml",
      SHOP.replace("[ingress,", "[ingress, egress,").replace("shop/web", "shop/out"),
    );
    const run = async (...features: string[]) =>
      idsIn((await folder.test(...features.flatMap((each) => ["--feature", each]), right, egress)).stdout);
    expect(await run("ingress")).toEqual(["shop/web", "shop/out"]);
    expect(await run("ingress", "egress")).toEqual(["shop/out"]);
    expect(await run("sctp")).toEqual([]);
  });

  it("ends after the first failure on request", async () => {
    expect(idsIn((await folder.test("--fail-fast", right, wrong, open)).stdout)).toEqual([
      "shop/web",
      "shop/wrong",
    ]);
    expect(idsIn((await folder.test(right, wrong, open)).stdout)).toEqual([
      "shop/web",
      "shop/wrong",
      "shop/open",
    ]);
  });
});
