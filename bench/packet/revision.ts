// Another revision of this repository, built in a worktree that is removed afterwards.

import { execFile, execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  cpSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join, resolve } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { messageOf, OperationError } from "../../src/base/errors.ts";
import type { Teardown } from "../../src/lab/teardown.ts";

export interface Revision {
  /** As it was named, with its commit. */
  readonly name: string;
  readonly root: string;
}

const HERE = fileURLToPath(new URL("../..", import.meta.url));
const BENCH = "bench/packet/measure.ts";
/** What a bench needs of a clone. */
const STEPS = ["modules", "native", "bpf", "layout"];

const run = promisify(execFile);
const git = (...args: readonly string[]): string =>
  execFileSync("git", ["-C", HERE, ...args], { encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] }).trim();

/** `name` is a revision of Git's, or the folder of another clone, which is taken as it is. @throws OperationError */
export async function openRevision(
  name: string,
  progress: (text: string) => void,
  teardown: Teardown,
): Promise<Revision> {
  if (existsSync(join(name, BENCH))) return { name, root: resolve(name) };
  try {
    const commit = git("rev-parse", "--verify", "--end-of-options", `${name}^{commit}`);
    const folder = mkdtempSync(join(tmpdir(), "weir-revision-"));
    teardown.defer(() => rmSync(folder, { recursive: true, force: true }));
    const root = join(folder, "worktree");
    git("worktree", "add", "--detach", root, commit);
    teardown.defer(() => void git("worktree", "remove", "--force", root));
    if (!existsSync(join(root, BENCH))) throw new Error("it has no bench/packet");
    progress(`building ${name}`);
    shareBuilds(root, commit);
    await run("bash", ["tools/setup.sh", ...STEPS], { cwd: root });
    return { name: commit.startsWith(name) ? name : `${name} (${commit.slice(0, 10)})`, root };
  } catch (thrown) {
    throw new OperationError(messageOf(thrown), { operation: "build", object: name, cause: thrown });
  }
}

/** What is the same there need not be installed or built a second time. Packages of npm are linked, bpf-ts is its own. */
function shareBuilds(root: string, commit: string): void {
  if (digestOf(root) === digestOf(HERE)) {
    const [from, to] = [HERE, root].map((each) => join(each, "node_modules")) as [string, string];
    mkdirSync(to);
    for (const entry of readdirSync(from))
      if (entry !== "bpf-ts") symlinkSync(join(from, entry), join(to, entry));
    symlinkSync("../native", join(to, "bpf-ts"));
  }
  if (git("diff", "--name-only", commit, "--", "native") !== "") return;
  for (const built of ["native/build", "native/dist"])
    if (existsSync(join(HERE, built))) cpSync(join(HERE, built), join(root, built), { recursive: true });
}

const digestOf = (root: string): string =>
  createHash("sha256")
    .update(readFileSync(join(root, "package-lock.json")))
    .digest("hex");
