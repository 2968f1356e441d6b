// bin/weir: it runs the built command on the pinned Node.js, wherever it is called from, and reports what is missing.
import { spawnSync } from "node:child_process";
import { chmodSync, copyFileSync, mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { afterEach, beforeEach, expect, it } from "vitest";

const LAUNCHER = fileURLToPath(new URL("../../bin/weir", import.meta.url));

let root: string;

/** A clone with only the files that the launcher needs, under a name with a space; its Node prints how it was called. */
beforeEach(() => {
  root = join(mkdtempSync(join(tmpdir(), "weir-launcher-")), "a clone");
  for (const folder of ["bin", "dist", "node_modules/node/bin"])
    mkdirSync(join(root, folder), { recursive: true });
  copyFileSync(LAUNCHER, join(root, "bin/weir"));
  writeFileSync(join(root, "dist/weir.js"), "");
  const node = join(root, "node_modules/node/bin/node");
  writeFileSync(node, '#!/bin/sh\nprintf "<%s>" "$@"\nexit 7\n');
  chmodSync(node, 0o755);
});

afterEach(() => rmSync(join(root, ".."), { recursive: true }));

const run = (path: string, ...args: readonly string[]) => spawnSync(path, args, { encoding: "utf8" });

it("passes arguments and exit status through", () => {
  const { stdout, status } = run(join(root, "bin/weir"), "maps dump", "", "--raw");
  expect(stdout).toBe(
    `<--enable-source-maps><--max-semi-space-size=4><${root}/dist/weir.js><maps dump><><--raw>`,
  );
  expect(status).toBe(7);
});

it("has malloc give memory back, unless the environment has settings of its own", () => {
  const node = join(root, "node_modules/node/bin/node");
  writeFileSync(node, '#!/bin/sh\nenv | grep "^MALLOC_" | sort\n');
  const of = (env: NodeJS.ProcessEnv) =>
    spawnSync(join(root, "bin/weir"), { encoding: "utf8", env: { PATH: process.env["PATH"], ...env } })
      .stdout;
  expect(of({})).toBe("MALLOC_ARENA_MAX=1\nMALLOC_MMAP_THRESHOLD_=32768\nMALLOC_TRIM_THRESHOLD_=131072\n");
  expect(of({ MALLOC_ARENA_MAX: "4" })).toContain("MALLOC_ARENA_MAX=4\n");
});

it("finds its clone through symbolic links, absolute and relative", () => {
  symlinkSync(join(root, "bin/weir"), join(root, "absolute"));
  symlinkSync("../absolute", join(root, "dist/relative"));
  expect(run(join(root, "dist/relative")).stdout).toContain(`<${root}/dist/weir.js>`);
});

it.each(["node_modules/node/bin/node", "dist/weir.js"])(
  "names the command to run if %s is missing",
  (missing) => {
    rmSync(join(root, missing));
    const { stderr, status } = run(join(root, "bin/weir"));
    expect(stderr).toBe(`weir: ${root}/${missing} is missing; run 'npm run setup' in ${root}\n`);
    expect(status).toBe(1);
  },
);
