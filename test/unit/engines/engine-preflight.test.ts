// What an engine reports as missing, before it changes anything; and the command's one line about it.
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { preflightOf } from "../../../src/engines/engine-preflight.ts";
import { ROOT } from "../cli/world.ts";

let empty: string;
beforeAll(() => {
  empty = mkdtempSync(join(tmpdir(), "wt-obstacles-"));
});
afterAll(() => rmSync(empty, { recursive: true, force: true }));

/** Without capabilities, as root too (which then has only the rights of the files' owner). */
function withoutPrivilege(...args: readonly string[]) {
  const node = [process.execPath, "--disable-warning=ExperimentalWarning", ...args];
  const drop = ["setpriv", "--bounding-set", "-all", "--inh-caps", "-all"];
  const [command = "", ...rest] = process.getuid?.() === 0 ? [...drop, ...node] : node;
  const { status, stdout, stderr } = spawnSync(command, rest, { cwd: ROOT, encoding: "utf8" });
  return { status, stdout, stderr };
}

describe("without privilege", () => {
  const main = join(ROOT, "src/cli/main.ts");
  const icmp = join(ROOT, "test/cases/icmp.yaml");

  it.each([
    ["kernel", "CAP_BPF, CAP_NET_ADMIN"],
    ["live", "CAP_BPF, CAP_NET_ADMIN, CAP_SYS_ADMIN"],
  ])("`weir test --engine %s` names what is missing, and what needs none", (engine, capabilities) => {
    expect(withoutPrivilege(main, "test", "--engine", engine, icmp)).toEqual({
      status: 1,
      stdout: "",
      stderr:
        `weir: engine ${engine} cannot run here: this process lacks ${capabilities} (run it as root); ` +
        "`--engine plan` needs no privilege\n",
    });
  });

  it.each(["oracle", "plan"])("`weir test --engine %s` runs", (engine) => {
    const { status, stdout } = withoutPrivilege(main, "test", "--engine", engine, icmp);
    expect({ status, last: stdout.trim().split("\n").at(-1) }).toEqual({
      status: 0,
      last: "17 passed, 0 failed",
    });
  });
});

it("oracle and plan lack nothing anywhere", () => {
  const options = { object: join(empty, "none.o"), bpffs: empty };
  expect([preflightOf("oracle", options), preflightOf("plan", options)]).toEqual([[], []]);
});
