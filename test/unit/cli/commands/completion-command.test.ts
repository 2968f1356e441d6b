// `weir __complete`, and the completion functions of `weir completion` in the shells themselves.
import { execFile } from "node:child_process";
import { chmodSync, mkdirSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { promisify } from "node:util";
import type { Command } from "commander";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { buildProgram } from "../../../../src/cli/program.ts";
import { TABLE_NAMES } from "../../../../src/observe/dump/map-tables.ts";
import { viewsWith } from "../views.ts";
import { type CommandWorld, ENV_OF_NOTHING, openCommandWorld, ROOT, runIn } from "../world.ts";

const run = promisify(execFile);
const program = await buildProgram(ENV_OF_NOTHING, () => async () => undefined);
const commandsBelow = (command: Command): Command[] => [command, ...command.commands.flatMap(commandsBelow)];
const pathOf = (command: Command): string[] =>
  command.parent === null ? [] : [...pathOf(command.parent), command.name()];

let world: CommandWorld;
let directory: string;

beforeAll(async () => {
  world = openCommandWorld();
  directory = dirname(world.socket);
  await world.serve(viewsWith());
});
afterAll(() => world.close());

describe("weir __complete", () => {
  const complete = async (...words: string[]): Promise<string[]> => {
    const { exitCode, stdout, stderr } = await runIn(["__complete", ...words], {
      variables: { WEIR_SOCKET: world.socket },
    });
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
    return stdout.split("\n").slice(0, -1);
  };
  const wordsOf = async (...words: string[]): Promise<(string | undefined)[]> =>
    (await complete(...words)).map((line) => line.split("\t")[0]);

  it("offers commands with their descriptions", async () => {
    expect(await complete("")).toEqual(
      program.commands.map((each) => `${each.name()}\t${each.description()}`),
    );
    expect(await wordsOf("get", "")).toEqual(["endpoints", "policies", "reachability"]);
    expect(await wordsOf("--socket", "/x", "tr")).toEqual(["trace"]);
  });

  it.each(
    commandsBelow(program).map((command) => [["weir", ...pathOf(command)].join(" "), command] as const),
  )("offers the options of %s", async (_, command) => {
    const own = command === program ? [] : command.options.filter(({ hidden }) => !hidden);
    const flags = [...own, ...program.options].flatMap(({ short, long }) => [short ?? [], long ?? []].flat());
    expect((await wordsOf(...pathOf(command), "-")).sort()).toEqual([...flags, "-h", "--help"].sort());
  });

  it.each([
    [
      ["trace", "--protocol", ""],
      ["TCP", "UDP", "SCTP", "ICMP"],
    ],
    [["trace", "--protocol=U"], ["--protocol=UDP"]],
    [["trace", "--from", "alpha/"], ["alpha/nginx"]],
    [["trace", "--from", "alpha/nginx", "--to", "b"], ["beta/lost"]],
    [["trace", "--from=alpha/nginx", "--to=b"], ["--to=beta/lost"]],
    [["--socket", "/x", "trace", "--protocol", "I"], ["ICMP"]],
    [
      ["get", "endpoints", "-n", ""],
      ["alpha", "beta"],
    ],
    [["get", "policies", "-o", "js"], ["json"]],
    [
      ["describe", "policy", ""],
      ["alpha/access-nginx", "beta/nobody"],
    ],
    [["describe", "endpoint", "--manifests", "x", "a"], ["alpha/nginx"]],
    [["describe", "endpoint", "--socket", "/nowhere", "a"], []],
    [["describe", "endpoint", "alpha/nginx", ""], []],
    [["maps", "dump", "c"], TABLE_NAMES.filter((name) => name.startsWith("c"))],
    [
      ["completion", ""],
      ["bash", "zsh", "fish"],
    ],
    [
      ["run", "--log-level", ""],
      ["debug", "info", "warn", "error"],
    ],
    [["lint", "-f", "po"], [":files"]],
    [["run", "--manifests", ""], [":directories"]],
    [["test", "a.yaml", "b"], [":files"]],
    [["status", "x"], []],
    [["no-such-command", ""], program.commands.map((each) => each.name())],
    [["get", "endpoints", "--no-such-option=x"], []],
  ])("%j: %j", async (words, expected) => {
    expect(await wordsOf(...words)).toEqual(expected);
  });
});

describe("in the shells", { timeout: 60_000 }, () => {
  const script = (shell: string) => join(directory, `weir.${shell}`);
  const environment = () => ({
    PATH: `${directory}${delimiter}${process.env["PATH"]}`,
    HOME: directory,
    WEIR_SOCKET: world.socket,
  });
  const inShell = async (file: string, args: readonly string[]): Promise<string> => {
    const { stdout } = await run(file, args, {
      cwd: join(directory, "cwd"),
      env: environment(),
      timeout: 60_000,
    });
    return stdout;
  };

  beforeAll(async () => {
    for (const shell of ["bash", "zsh", "fish"]) {
      const { exitCode, stdout, stderr } = await runIn(["completion", shell]);
      expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
      writeFileSync(script(shell), stdout);
    }
    writeFileSync(
      join(directory, "weir"),
      `#!/bin/sh\nexec "${process.execPath}" "${ROOT}/src/cli/main.ts" "$@"\n`,
    );
    chmodSync(join(directory, "weir"), 0o755);
    mkdirSync(join(directory, "cwd", "policies"), { recursive: true });
    writeFileSync(join(directory, "cwd", "policy.yaml"), "");
  });

  /** The words on the line when the shell has completed it. */
  const CASES: [line: string, offered: string[]][] = [
    ["weir tr", ["trace"]],
    ["weir trace --protocol=U", ["--protocol=UDP"]],
    ["weir trace --from fd00::1 --to be", ["beta/lost"]],
    ["weir get policies --no-h", ["--no-headers"]],
    ["weir lint -f po", ["policies", "policy.yaml"]],
    ["weir lint --filename=policy", ["--filename=policy.yaml"]],
    ["weir run --manifests po", ["policies"]],
    ["weir status x", []],
  ];

  it.each(CASES)("bash: %s", async (line, expected) => {
    // As bash itself cuts the line at "=" and ":", and replaces the last piece by a candidate.
    const words = line.split(/ |(?<=[=:])|(?=[=:])/);
    const program = [
      `source ${script("bash")}; complete -p weir >/dev/null || exit 1`,
      `COMP_WORDS=(${words.map((word) => `'${word}'`).join(" ")}); COMP_CWORD=${words.length - 1}`,
      `COMP_LINE='${line}'; COMP_POINT=${line.length}`,
      `_weir 2>&1; printf '%s\\n' "\${COMPREPLY[@]}"`,
    ].join("\n");
    const last = line.split(" ").at(-1) ?? "";
    const kept = last.slice(0, last.length - (words.at(-1) ?? "").length);
    const offered = (await inShell("bash", ["--norc", "-c", program]))
      .split("\n")
      .filter((each) => each !== "");
    expect(offered.map((each) => `${kept}${each}`).sort()).toEqual(expected);
  });

  it.each(CASES)("fish: %s", async (line, expected) => {
    const text = await inShell("fish", [
      "--no-config",
      "-c",
      `source ${script("fish")}; complete -C '${line}'`,
    ]);
    const offered = text.split("\n").flatMap((each) => each.split("\t")[0]?.replace(/\/$/, "") || []);
    expect(offered.sort()).toEqual(expected);
  });

  it.each(CASES)("zsh: %s", async (line, expected) => {
    // Completion runs only in the line editor, so in a terminal of its own. What compadd matches goes to a file.
    const found = join(directory, "found");
    const setup = [
      "autoload -Uz compinit && compinit -u -D",
      `source ${script("zsh")}`,
      `compadd() { builtin compadd -O found_ "$@"; print -rl -- $IPREFIX\${^found_} >>${found}; builtin compadd "$@" }`,
      `finished() { print done >>${found} }; zle -N finished`,
      `bindkey '^T' complete-word; bindkey '^X' finished; PS1=ready`,
    ].join("\n");
    writeFileSync(join(directory, ".zshrc"), setup);
    writeFileSync(found, "");
    const text = await inShell("zsh", [
      "-f",
      "-c",
      `zmodload zsh/zpty; zpty z 'ZDOTDIR=${directory} zsh -i'; zpty -r z output '*ready*'
       zpty -w -n z $'${line}\\C-t\\C-x'
       until [[ $(<${found}) == *done ]]; do zpty -r -t z output; sleep 0.05; done; cat ${found}`,
    ]);
    const offered = text.split("\n").filter((each) => each !== "" && each !== "done");
    expect([...new Set(offered)].sort()).toEqual(expected);
  });
});

it("other shells are wrong usage", async () => {
  const { exitCode, stderr } = await runIn(["completion", "csh"]);
  expect(exitCode).toBe(2);
  expect(stderr).toMatch(/Allowed choices are bash, zsh, fish/);
});
