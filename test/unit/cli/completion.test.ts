// `weir completion`: sourced in the shells themselves, the scripts offer what the table of commands has.
import { execFile } from "node:child_process";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { wordsOf } from "../../../src/cli/completion/words.ts";
import { buildProgram } from "../../../src/cli/program.ts";
import { TABLE_NAMES } from "../../../src/observe/dump/tables.ts";
import { ENV_OF_NOTHING, runIn } from "./world.ts";

const run = promisify(execFile);
const COMMANDS = wordsOf(await buildProgram(ENV_OF_NOTHING, () => async () => undefined));
const [PROGRAM] = COMMANDS;

let directory: string;
/** The scripts as the command prints them. */
const script = (shell: string) => join(directory, `weir.${shell}`);

beforeAll(async () => {
  directory = mkdtempSync(join(tmpdir(), "wt-complete-"));
  for (const shell of ["bash", "zsh", "fish"]) {
    const { exitCode, stdout, stderr } = await runIn(["completion", shell]);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    writeFileSync(script(shell), stdout);
  }
  // What lists names: the agent's answers are not the matter here.
  const weir =
    '#!/bin/sh\ncase "$*" in *endpoints*) printf "shop/web\\nshop/db\\njobs/a\\n" ;; *) echo shop/allow ;; esac\n';
  writeFileSync(join(directory, "weir"), weir);
  chmodSync(join(directory, "weir"), 0o755);
  writeFileSync(join(directory, "policy.yaml"), "");
});
afterAll(() => rmSync(directory, { recursive: true, force: true }));

const environment = () => ({ PATH: `${directory}${delimiter}${process.env["PATH"]}` });

/** What bash offers for a line; the last word is the one under the cursor. */
async function offered(line: string): Promise<string[]> {
  const words = line.split(" ");
  const program = [
    `source ${script("bash")}`,
    `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}`,
    `_weir; printf "%s\\n" "\${COMPREPLY[@]}"`,
  ].join("\n");
  const { stdout } = await run("bash", ["--norc", "-c", program], { cwd: directory, env: environment() });
  return stdout.split("\n").filter((each) => each !== "");
}

describe("bash", () => {
  it("knows which function completes weir", async () => {
    const { stdout } = await run("bash", ["--norc", "-c", `source ${script("bash")}; complete -p weir`]);
    expect(stdout).toBe("complete -F _weir weir\n");
  });

  it("offers the commands", async () => {
    expect(await offered("weir ")).toEqual(PROGRAM?.commands.map(({ name }) => name));
    expect(await offered("weir tr")).toEqual(["trace"]);
    expect(await offered("weir get ")).toEqual(["endpoints", "policies"]);
  });

  it.each(COMMANDS.map(({ path, options }) => [path, options] as const))(
    "offers the options of %s",
    async (path, options) => {
      expect(await offered(`${path} -`)).toEqual(options.flatMap(({ flags }) => flags));
    },
  );

  it.each([
    ["weir trace --protocol ", ["TCP", "UDP", "SCTP", "ICMP"]],
    ["weir trace --protocol = U", ["UDP"]],
    ["weir trace --from shop/", ["shop/web", "shop/db"]],
    ["weir trace --from shop/web --to j", ["jobs/a"]],
    ["weir --socket /x trace --protocol I", ["ICMP"]],
    ["weir get endpoints -n ", ["jobs", "shop"]],
    ["weir get policies -o js", ["json"]],
    ["weir describe policy ", ["shop/allow"]],
    ["weir describe endpoint --manifests x s", ["shop/web", "shop/db"]],
    ["weir maps dump c", TABLE_NAMES.filter((name) => name.startsWith("c"))],
    ["weir completion ", ["bash", "zsh", "fish"]],
    ["weir lint -f po", ["policy.yaml"]],
    ["weir status x", []],
  ])("offers for `%s`", async (line, expected) => {
    expect(await offered(line)).toEqual(expected);
  });
});

describe("zsh", () => {
  it("reads the script, and has a function for each command", async () => {
    const names = COMMANDS.map(({ path }) => `_${path.replaceAll(/[^a-z]/g, "_")}`);
    const program = `compdef() { }; source ${script("zsh")}; print -l \${(k)functions[(I)_weir*]}`;
    const { stdout, stderr } = await run("zsh", ["-f", "-c", program]);
    expect(stderr).toBe("");
    expect(stdout.split("\n")).toEqual(expect.arrayContaining(names));
  });
});

describe("fish", () => {
  const complete = async (line: string): Promise<string[]> => {
    const program = `source ${script("fish")}; complete -C '${line}'`;
    const env = { ...environment(), HOME: directory };
    const { stdout } = await run("fish", ["--no-config", "-c", program], { cwd: directory, env });
    return stdout.split("\n").flatMap((each) => each.split("\t")[0] || []);
  };

  it.each([
    ["weir tr", ["trace"]],
    ["weir maps dump co", ["conntrack", "counters"]],
    ["weir trace --protocol U", ["UDP"]],
    ["weir trace --from jo", ["jobs/a"]],
    ["weir describe policy sh", ["shop/allow"]],
    ["weir get policies --no-h", ["--no-headers"]],
  ])("offers for `%s`", async (line, expected) => {
    expect(await complete(line)).toEqual(expected);
  });
});

it("knows no other shell", async () => {
  const { exitCode, stderr } = await runIn(["completion", "csh"]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/Allowed choices are bash, zsh, fish/);
});
