// tools/setup.sh if it cannot go on: it names every missing package and what to run.
import { execFileSync, spawnSync } from "node:child_process";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
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

it("names the packages to install if there is no apt-get", () => {
  const { stdout, stderr, status } = setup("packages");
  expect(stdout).toBe("setup: Debian packages … failed\n");
  expect(stderr).toContain("this is not Debian, and these are missing (by their Debian names): clang-19 ");
  for (const name of ["clang-format-19", "g++", "make", "libbpf-dev", "libelf-dev", "zlib1g-dev"]) {
    expect(stderr.split(/\s+/)).toContain(name);
  }
  expect(stderr.split(/\s+/)).not.toContain("git");
  expect(status).toBe(1);
});

it("prints the size of the packages before it installs them", () => {
  for (const command of ["cat", "mktemp", "rm", "sed", "sleep", "tail", "tr"])
    symlinkSync(which(command), join(path, command));
  const calls = join(root, "calls");
  const program = (name: string, text: string) =>
    writeFileSync(join(path, name), `#!${join(path, "bash")}\n${text}\n`, { mode: 0o755 });
  program("id", "echo 0");
  // An empty package list first, as in a fresh image.
  program(
    "apt-get",
    `echo "$*" >>${calls}
case "$*" in
  *--assume-no*)
    [ -e ${root}/lists ] || exit 100
    printf 'Need to get 7710 kB/8206 kB of archives.\\nAfter this operation, 38.2 MB of additional disk space will be used.\\n'
    exit 1 ;;
  update) : >${root}/lists ;;
esac`,
  );
  const { stdout, stderr, status } = setup("test-packages");
  expect({ stderr, status }).toEqual({ stderr: "", status: 0 });
  expect(stdout.replaceAll(/\(\d+ s\)/g, "(N s)")).toBe(
    [
      "setup: Debian packages for tests … 3 missing: zsh fish linux-perf",
      "setup:   fetching the package lists … ok (N s)",
      "setup:   7710 kB to download, 38.2 MB on disk, about 11 s … ok (N s)",
      "",
    ].join("\n"),
  );
  expect(readFileSync(calls, "utf8").trimEnd().split("\n").at(-1)).toBe(
    "install -y --no-install-recommends zsh fish linux-perf",
  );
});

it("refuses an unknown step", () => {
  const { stderr, status } = setup("nonsense");
  expect(stderr).toBe("setup: no step 'nonsense'; see the head of tools/setup.sh\n");
  expect(status).toBe(2);
});
