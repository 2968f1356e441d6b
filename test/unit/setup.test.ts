// tools/setup.sh where it cannot go on: it names every missing package and what to run.
import { execFileSync, spawnSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";

const SETUP = fileURLToPath(new URL("../../tools/setup.sh", import.meta.url));
const which = (command: string): string =>
  execFileSync("sh", ["-c", `command -v ${command}`], { encoding: "utf8" }).trim();

let root: string;
/** A directory of commands, to be the whole PATH: a system without compilers and without apt-get. */
let path: string;

/** The script is copied, because it waits for a set-up that runs in the same clone. */
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "weir-setup-"));
  path = join(root, "commands");
  for (const folder of [path, join(root, "tools")]) mkdirSync(folder);
  copyFileSync(SETUP, join(root, "tools/setup.sh"));
  for (const command of ["bash", "dirname", "flock", "git", "uname"])
    symlinkSync(which(command), join(path, command));
});

afterEach(() => rmSync(root, { recursive: true }));

const setup = (...steps: readonly string[]) =>
  spawnSync(join(path, "bash"), [join(root, "tools/setup.sh"), ...steps], {
    encoding: "utf8",
    env: { PATH: path },
  });

it("names the packages to install where there is no apt-get", () => {
  const { stdout, stderr, status } = setup("packages");
  expect(stdout).toBe("setup: Debian packages … failed\n");
  expect(stderr).toContain("this is not Debian, and these are missing (by their Debian names): clang-19 ");
  for (const name of ["clang-format-19", "g++", "make", "libbpf-dev", "libelf-dev", "zlib1g-dev"]) {
    expect(stderr.split(/\s+/)).toContain(name);
  }
  expect(stderr.split(/\s+/)).not.toContain("git");
  expect(status).toBe(1);
});

it("refuses a step that it does not know", () => {
  const { stderr, status } = setup("nonsense");
  expect(stderr).toBe("setup: no step 'nonsense'; see the head of tools/setup.sh\n");
  expect(status).toBe(2);
});
