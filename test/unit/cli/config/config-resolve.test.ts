// The configuration of `weir run`: precedence of the places, what errors name, and that documents follow the schema.
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { OPTIONS, type OptionSpec } from "../../../../src/cli/config/config-options.ts";
import { CONFIG } from "../../../../src/cli/config/config-schema.ts";
import { withTable } from "../../../../tools/config/table.ts";
import { type Outcome, ROOT, runIn } from "../world.ts";

let directory: string;
beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "wt-config-"));
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

function fileOf(text: string): string {
  const path = join(directory, "config.yaml");
  writeFileSync(path, text);
  return path;
}

interface Said {
  readonly flags?: readonly string[];
  readonly variables?: Record<string, string>;
  readonly file?: string;
}

/** `weir run --print-config` with the values of the three places. */
const printed = ({ flags = [], variables = {}, file }: Said): Promise<Outcome> =>
  runIn(["run", "--print-config", ...(file === undefined ? [] : ["--config", fileOf(file)]), ...flags], {
    variables,
  });

/** key → [value, where it was set] */
async function held(said: Said): Promise<Record<string, [value: unknown, at: string]>> {
  const { exitCode, stdout, stderr } = await printed(said);
  expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  const lines = stdout.matchAll(/^(\w+): (\S+) +# (.*)$/gm);
  return Object.fromEntries(
    [...lines].map(([, key = "", value = "", at = ""]) => [key, [JSON.parse(value), at]]),
  );
}

/** Two valid values of each option, as text and as in a file. */
function samplesOf({ key, type, choices }: OptionSpec): [text: string, value: unknown][] {
  if (choices !== undefined) return choices.slice(0, 2).map((choice) => [choice, choice]);
  if (key === "metricsListen" || key === "probeListen") return [":1", "off"].map((text) => [text, text]);
  if (key === "conntrackFlows") return [10_000, 20_000].map((flows) => [String(flows), flows]);
  switch (type) {
    case "boolean":
      return [
        ["true", true],
        ["false", false],
      ];
    case "integer":
      return [
        ["7", 7],
        ["8", 8],
      ];
    case "array":
      return [
        ["a,b", ["a", "b"]],
        ["c", ["c"]],
      ];
    case "string":
      return [
        ["x", "x"],
        ["y", "y"],
      ];
  }
}

/** As it is written on the command line. */
function flagsFor({ flags, type }: OptionSpec, text: string): string[] {
  const [flag = ""] = flags.split(" ");
  if (type !== "boolean") return [flag, text];
  return [text === "true" ? flag.replace("--no-", "--") : `--no-${flag.replace(/^--(no-)?/, "")}`];
}

describe("each option", () => {
  it.each(OPTIONS.map((spec) => [spec.key, spec] as const))(
    "%s: flag, environment, file, default",
    async (key, spec) => {
      const [[text, value], [otherText, other]] = samplesOf(spec) as [[string, unknown], [string, unknown]];
      const file = `${key}: ${JSON.stringify(other)}\n`;
      const flags = flagsFor(spec, text);
      const variables = { [spec.variable]: otherText };
      expect((await held({}))[key]).toEqual(
        spec.default === undefined ? undefined : [spec.default, "default"],
      );
      expect((await held({ file }))[key]).toEqual([other, `${join(directory, "config.yaml")}:1:1`]);
      expect((await held({ file, variables: { [spec.variable]: text } }))[key]).toEqual([
        value,
        spec.variable,
      ]);
      expect((await held({ file, variables, flags }))[key]).toEqual([value, flags[0]]);
      expect((await held({ variables: { [spec.variable]: "" }, file }))[key]?.[0]).toEqual(other);
    },
  );

  it("has a name of its own in each place", () => {
    for (const names of [OPTIONS.map(({ flags }) => flags), OPTIONS.map(({ variable }) => variable)])
      expect(new Set(names).size).toBe(OPTIONS.length);
    expect(OPTIONS.map(({ key }) => key)).toEqual(Object.keys(CONFIG.shape));
  });

  it("is printed as a file with the same content", async () => {
    const said = {
      flags: ["--uplink", "eth0,eth1", "--mode", "audit"],
      variables: { WEIR_LOG_LEVEL: "warn" },
    };
    const { stdout } = await printed(said);
    const again = await held({ file: stdout });
    const values = Object.entries(await held(said)).map(([key, [value]]) => [key, value]);
    expect(Object.entries(again).map(([key, [value]]) => [key, value])).toEqual(values);
  });

  it("of the file that WEIR_CONFIG names takes effect", async () => {
    const { stdout } = await runIn(["run", "--print-config"], {
      variables: { WEIR_CONFIG: fileOf("mode: audit") },
    });
    expect(stdout).toContain('mode: "audit"');
  });
});

describe("errors name the place, the option and what was expected", () => {
  it.each([
    ["mode: loud", ':1:1: mode: expected enforce or audit, not "loud"'],
    ["mode:", ":1:1: mode: expected enforce or audit, not null"],
    ["mode: audit\n\nlogLevel: 3", ":3:1: logLevel: expected debug, info, warn or error, not 3"],
    ["log-level: info", ":1:1: log-level: no such option; the nearest is logLevel"],
    ["metricListen: 'off'", ":1:1: metricListen: no such option; the nearest is metricsListen"],
    [
      "metricsListen: 9469",
      ":1:1: metricsListen: expected 127.0.0.1:9469, [::1]:9469, :9469 or off, not 9469",
    ],
    ["metricsPolicies: 'yes'", ':1:1: metricsPolicies: expected true or false, not "yes"'],
    ["eventsFileSize: 0", ":1:1: eventsFileSize: expected a number from 1 to 9999, not 0"],
    ["eventsFileSize: 1.5", ":1:1: eventsFileSize: expected a number from 1 to 9999, not 1.5"],
    [
      "uplink: eth0",
      ':1:1: uplink: expected a list of names of interfaces, each of at most 15 characters, not "eth0"',
    ],
    [
      "uplink: [a/b]",
      ':1:1: uplink: expected a list of names of interfaces, each of at most 15 characters, not ["a/b"]',
    ],
    ["mode: audit\nmode: audit", ":2:1: mode: duplicate key; the first one is in line 1"],
    ["- mode", ":1:1: expected a map of options, as in docs/configuration.md"],
    ["mode: audit\n---\nmode: audit", ": has more than one document; expected one map of options"],
    ["mode: [", /:1:\d+: not valid YAML: /],
  ])("in a file: %s", async (file, reason) => {
    const { exitCode, stdout, stderr } = await printed({ file });
    expect({ exitCode, stdout }).toEqual({ exitCode: 2, stdout: "" });
    const prefix = `weir: ${join(directory, "config.yaml")}`;
    expect(stderr.slice(0, prefix.length)).toBe(prefix);
    if (typeof reason === "string") expect(stderr).toBe(`${prefix}${reason}\n`);
    else expect(stderr).toMatch(reason);
  });

  it.each([
    ["WEIR_MODE", "loud", 'WEIR_MODE: expected enforce or audit, not "loud"'],
    ["WEIR_EVENTS_FILE_SIZE", "1e3", 'WEIR_EVENTS_FILE_SIZE: expected a number from 1 to 9999, not "1e3"'],
    ["WEIR_METRICS_POLICIES", "no", 'WEIR_METRICS_POLICIES: expected true or false, not "no"'],
  ])("in the environment: %s=%s", async (name, text, reason) => {
    const { exitCode, stderr } = await printed({ variables: { [name]: text } });
    expect({ exitCode, stderr }).toEqual({ exitCode: 2, stderr: `weir: ${reason}\n` });
  });

  it("even if another place takes precedence", async () => {
    const { exitCode, stderr } = await printed({ file: "mode: loud", flags: ["--mode", "audit"] });
    expect(exitCode).toBe(2);
    expect(stderr).toContain("mode: expected enforce or audit");
  });

  it("of two options by where one was set", async () => {
    const path = fileOf("uplink: [eth0]");
    const { exitCode, stderr } = await runIn(["run", "--manifests", directory, "--config", path]);
    expect({ exitCode, stderr }).toEqual({
      exitCode: 2,
      stderr: `weir: ${path}:1:1: uplink needs --deny-cidrs; see: weir run --help\n`,
    });
  });

  it("and if it is not a valid file", async () => {
    expect(await runIn(["run", "--config", join(directory, "none")])).toMatchObject({
      exitCode: 4,
      stderr: `weir: ${join(directory, "none")} does not exist\n`,
    });
    expect(await runIn(["run", "--config", directory])).toMatchObject({
      exitCode: 2,
      stderr: `weir: ${directory} is a directory; expected a file of YAML\n`,
    });
  });
});

describe("variables", () => {
  it("that are misspelt are reported, others not", async () => {
    const variables = {
      WEIR_METRIC_LISTEN: "off",
      WEIR_SERVICE_HOST: "10.0.0.1",
      WEIR_SOCKET: "/x",
      MODE: "audit",
    };
    const { exitCode, stderr } = await printed({ variables });
    expect({ exitCode, stderr }).toEqual({
      exitCode: 0,
      stderr: "weir: WEIR_METRIC_LISTEN means nothing to Weir; WEIR_METRICS_LISTEN does\n",
    });
  });
});

describe("docs/configuration.md", () => {
  const page = readFileSync(join(ROOT, "docs/configuration.md"), "utf8");

  it("matches the schema (node tools/config.ts writes it)", () => {
    expect(page).toBe(withTable(page));
  });

  it("notices an option that is missing", () => {
    const without = page.replace(/^\| `--mode .*\n/m, "");
    expect(without).not.toBe(page);
    expect(withTable(without)).toBe(page);
  });
});
