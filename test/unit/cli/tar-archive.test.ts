// Archives, read by tar itself.
import { execFileSync } from "node:child_process";
import { expect, it } from "vitest";
import { tarOf } from "../../../src/cli/tar-archive.ts";

const tar = (archive: Buffer, ...args: readonly string[]): string =>
  execFileSync("tar", args, { input: archive, encoding: "latin1", env: { ...process.env, TZ: "UTC" } });

it("hold files of every size, byte by byte", () => {
  const sizes = [0, 1, 511, 512, 513, 100_000];
  const entries = sizes.map((size) => ({
    name: `dir/${size}`,
    content: Buffer.from(Array.from({ length: size }, (_, at) => at % 251)),
  }));
  const archive = tarOf(entries, 1_700_000_000);
  expect(archive.length % 512).toBe(0);
  expect(tar(archive, "tvf", "-").trimEnd().split("\n")).toEqual(
    sizes.map((size) =>
      expect.stringMatching(new RegExp(`^-rw------- root/root +${size} 2023-11-14 22:13(:20)? dir/${size}$`)),
    ),
  );
  for (const { name, content } of entries)
    expect(tar(archive, "xOf", "-", name)).toBe(content.toString("latin1"));
});

it("have long paths, as those below the longest name of a node", () => {
  const name = `weir-sysdump-${"n".repeat(63)}.${"d".repeat(60)}-20261130T015600Z/kernel/${"x".repeat(60)}`;
  const archive = tarOf([{ name, content: Buffer.from("content") }], 0);
  expect(tar(archive, "tf", "-")).toBe(`${name}\n`);
  expect(tar(archive, "xOf", "-", name)).toBe("content");
});

it.each(["x".repeat(101), `${"x".repeat(156)}/x`, `x/${"x".repeat(101)}`, "é"])(
  "refuse a name that does not fit: %s",
  (name) => {
    expect(() => tarOf([{ name, content: Buffer.alloc(0) }], 0)).toThrow(/no name for an archive/);
  },
);
