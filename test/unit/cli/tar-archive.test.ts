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

it("refuse a name that does not fit", () => {
  expect(() => tarOf([{ name: "x".repeat(101), content: Buffer.alloc(0) }], 0)).toThrow(
    /no name for an archive/,
  );
});
