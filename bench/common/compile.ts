// Compiling a bench's own C into a folder that is gone when it has been used.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

const FOLDER = "weir-bench-";

/** Compiles `source` (a path) to `output`. Errors: what the compiler says. */
export function compileBpf(source: string, output: string, more: readonly string[] = []): void {
  const multiarch = execFileSync("gcc", ["-print-multiarch"], { encoding: "utf8" }).trim();
  const flags = ["-std=gnu2x", "-O2", "-g", "-target", "bpf", "-mcpu=v3", "-Wall", "-Wextra", "-Werror"];
  const ours = fileURLToPath(new URL("../../bpf", import.meta.url));
  const includes = ["-I", ours, ...(multiarch === "" ? [] : ["-idirafter", `/usr/include/${multiarch}`])];
  const compiler = process.env["CLANG"] ?? "clang-19";
  execFileSync(compiler, [...flags, ...more, ...includes, "-c", source, "-o", output]);
}

/** Gives `use` the path of what `source` (a path) was compiled to. Errors: what the compiler says. */
export function withBpfObject<T>(source: string, use: (path: string) => T): T {
  const folder = mkdtempSync(join(tmpdir(), FOLDER));
  try {
    const output = join(folder, "object.bpf.o");
    compileBpf(source, output);
    return use(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** The same for an ordinary program of C; `use` may take its time. */
export async function withProgram<T>(
  source: string,
  use: (path: string) => Promise<T>,
  libraries: readonly string[] = [],
): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), FOLDER));
  try {
    const output = join(folder, "program");
    execFileSync("gcc", ["-O2", "-Wall", "-Wextra", "-Werror", "-o", output, source, ...libraries]);
    return await use(output);
  } finally {
    rmSync(folder, { recursive: true });
  }
}
