// Generates src/gen/layout.ts from the BTF of the built object, and from the comments of bpf/layout.h, which are the
// descriptions of constants: node tools/layout.ts [OBJECT [OUTPUT]]

import { mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { dirname, relative } from "node:path";
import { fileURLToPath } from "node:url";
import { Btf } from "bpf-ts";
import { codeOf, messageOf } from "../src/base/errors.ts";
import { layoutOf } from "../src/datapath/btf-layout.ts";
import { commentsIn } from "./layout/enums.ts";
import { moduleCode } from "./layout/module.ts";

const root = fileURLToPath(new URL("..", import.meta.url));
const [object = `${root}bpf/build/filter.bpf.o`, output = `${root}src/gen/layout.ts`] = process.argv.slice(2);

try {
  const comments = commentsIn(readFileSync(`${root}bpf/layout.h`, "utf8"));
  const code = moduleCode(layoutOf(Btf.parse(object)), relative(root, object), comments);
  const changed = readText(output) !== code;
  if (changed) replace(output, code);
  process.stdout.write(`${relative(process.cwd(), output)}: ${changed ? "written" : "up to date"}\n`);
} catch (error) {
  process.stderr.write(`layout: ${messageOf(error)}\n`);
  process.exitCode = 1;
}

function readText(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch (error) {
    if (codeOf(error) === "ENOENT") return undefined;
    throw error;
  }
}

/** By renaming, so that nobody ever reads half a file. */
function replace(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  const next = `${path}.${process.pid}`;
  writeFileSync(next, text);
  renameSync(next, path);
}
