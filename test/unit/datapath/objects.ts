// Objects compiled from snippets of C, so that the tests of the layout read real compiler output.

import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Btf } from "bpf-ts";
import { afterAll } from "vitest";

/** What linux/types.h and bpf_helpers.h define, as far as the snippets need it. */
const PRELUDE = `
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32; typedef unsigned long long __u64;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64;
#define SEC(name) __attribute__((section(name), used))
#define __uint(name, value) int (*name)[value]
#define __type(name, value) typeof(value) *name
#define __array(name, value) typeof(value) *name[]
`;

/** A hash map from __u32 to this type. */
export const mapOf = (value: string, name = "things"): string =>
  `struct { __uint(type, 1); __uint(max_entries, 8); __type(key, __u32); __type(value, ${value}); } ${name} SEC(".maps");`;

/** Anchors types that no map holds, as bpf/layout.h does. */
export const anchor = (members: string): string =>
  `const struct { ${members} } anchor __attribute__((section(".layout"))) = {};`;

/** A folder for this test file, removed at its end, and a compiler into it. */
export function compiler(): { folder: string; object(code: string, target?: string): string } {
  const folder = mkdtempSync(join(tmpdir(), "wt-layout-"));
  afterAll(() => rmSync(folder, { recursive: true, force: true }));
  let count = 0;
  return {
    folder,
    object(code, target = "bpfel") {
      const path = join(folder, `${++count}`);
      writeFileSync(`${path}.c`, `${PRELUDE}\n${code}\n`);
      const flags = ["-std=gnu2x", "-O2", "-g", "-target", target, "-c", `${path}.c`, "-o", `${path}.o`];
      execFileSync(process.env["CLANG"] ?? "clang-19", flags);
      return `${path}.o`;
    },
  };
}

/** The same, down to the types. */
export function btfCompiler(): (code: string, target?: string) => Btf {
  const { object } = compiler();
  return (code, target) => Btf.parse(object(code, target));
}
