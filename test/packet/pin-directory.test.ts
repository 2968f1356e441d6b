// Directories of pins that another user has made before the agent: no other user can remove what is pinned there afterwards. Needs root.

import { spawnSync } from "node:child_process";
import {
  chmodSync,
  chownSync,
  existsSync,
  lchownSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  rmSync,
  symlinkSync,
} from "node:fs";
import { basename, join } from "node:path";
import { BpfMap } from "bpf-ts";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { lockRoot } from "../../src/datapath/agent-lock.ts";
import { claimDirectory } from "../../src/datapath/bpffs.ts";
import { MAPS } from "../../src/gen/layout.ts";

const ANOTHER = 65_534;
const ROOT = `/sys/fs/bpf/weir-test-pins-${process.pid}`;
const LINKS = join(ROOT, "links");
const PIN = join(LINKS, "pin");

/** As another user would make it. */
function madeByAnother(path: string, mode: number): void {
  mkdirSync(path);
  chownSync(path, ANOTHER, ANOTHER);
  chmodSync(path, mode);
}
const remove = (path: string): void => rmSync(path, { recursive: true, force: true });
const ownerOf = (path: string): string => {
  const { uid, mode } = lstatSync(path);
  return `${uid} ${(mode & 0o777).toString(8)}`;
};
/** What another user gets who removes a file. */
const removedByAnother = (path: string): boolean =>
  spawnSync("setpriv", [
    "--reuid",
    String(ANOTHER),
    "--regid",
    String(ANOTHER),
    "--clear-groups",
    "rm",
    "-f",
    path,
  ]).status === 0 && !existsSync(path);

beforeEach(() => remove(ROOT));
afterEach(() => {
  for (const name of readdirSync("/sys/fs/bpf"))
    if (name.startsWith(basename(ROOT))) remove(join("/sys/fs/bpf", name));
});

describe("a directory of pins", () => {
  it.each([
    ["another user's", 0o777, ANOTHER],
    ["another user's, for the user alone", 0o700, ANOTHER],
    ["root's, and writable for everyone", 0o777, 0],
    ["root's, and writable for a group", 0o770, 0],
  ])("that is %s is taken over with its pins", (_, mode, uid) => {
    for (const path of [ROOT, LINKS]) {
      madeByAnother(path, mode);
      chownSync(path, uid, uid);
    }
    using map = BpfMap.create({ ...MAPS.address_filter });
    map.pin(PIN);
    if ((mode & 0o007) === 0o007) {
      using other = BpfMap.create({ ...MAPS.address_filter });
      other.pin(`${PIN}2`);
      expect(removedByAnother(`${PIN}2`)).toBe(true);
    }
    expect(claimDirectory(ROOT)).toEqual(uid === 0 ? [ROOT, LINKS] : [ROOT]);
    expect([ROOT, LINKS].map(ownerOf)).toEqual(["0 700", "0 700"]);
    expect(removedByAnother(PIN)).toBe(false);
    expect(existsSync(PIN)).toBe(true);
    expect(claimDirectory(ROOT)).toEqual([]);
  });

  it("that is another user's, without pins, is another one afterwards", async () => {
    madeByAnother(ROOT, 0o777);
    madeByAnother(LINKS, 0o777);
    const { ino } = lstatSync(ROOT);
    const taken: string[] = [];
    const lock = await lockRoot(ROOT, (paths) => taken.push(...paths));
    try {
      expect(taken).toEqual([ROOT]);
      expect(lstatSync(ROOT).ino).not.toBe(ino);
      expect(ownerOf(ROOT)).toBe("0 700");
      expect(ownerOf(LINKS)).toBe("0 700");
    } finally {
      lock.close();
    }
  });

  it("is taken over without capabilities, too, as the agent has it", () => {
    madeByAnother(ROOT, 0o777);
    madeByAnother(LINKS, 0o777);
    using map = BpfMap.create({ ...MAPS.address_filter });
    map.pin(PIN);
    const script = `import { claimDirectory } from "./src/datapath/bpffs.ts"; console.log(claimDirectory(process.argv[1]).join());`;
    const { stdout, stderr } = spawnSync(
      "setpriv",
      ["--bounding-set=-all", "--inh-caps=-all", process.execPath, "--input-type=module", "-e", script, ROOT],
      { encoding: "utf8" },
    );
    expect([stdout.trim(), stderr]).toEqual([ROOT, ""]);
    expect([ROOT, LINKS].map(ownerOf)).toEqual(["0 700", "0 700"]);
    expect(existsSync(PIN)).toBe(true);
  });

  it("of another user, which no other user can read, is put aside", () => {
    madeByAnother(ROOT, 0o700);
    madeByAnother(LINKS, 0o700);
    spawnSync("setpriv", [
      ...["--bounding-set=-all", "--inh-caps=-all", process.execPath, "--input-type=module", "-e"],
      `import { claimDirectory } from "./src/datapath/bpffs.ts"; claimDirectory(process.argv[1]);`,
      ROOT,
    ]);
    expect(ownerOf(ROOT)).toBe("0 700");
    expect(existsSync(LINKS)).toBe(false);
  });

  it("in whose place another user has made a link is made", () => {
    const elsewhere = `${ROOT}-elsewhere`;
    mkdirSync(elsewhere, { mode: 0o700 });
    try {
      symlinkSync(elsewhere, ROOT);
      expect(claimDirectory(ROOT)).toEqual([]);
      lchownSync(ROOT, ANOTHER, ANOTHER);
      expect(claimDirectory(ROOT)).toEqual([ROOT]);
      expect(existsSync(ROOT)).toBe(false);
      expect(existsSync(elsewhere)).toBe(true);
    } finally {
      remove(elsewhere);
    }
  });

  it("has no links of another user", () => {
    mkdirSync(ROOT, { mode: 0o700 });
    symlinkSync("/sys/fs/bpf", LINKS);
    lchownSync(LINKS, ANOTHER, ANOTHER);
    expect(claimDirectory(ROOT)).toEqual([LINKS]);
    expect(existsSync(LINKS)).toBe(false);
  });

  it("that is root's is left as it is", () => {
    mkdirSync(ROOT, { mode: 0o700 });
    mkdirSync(LINKS, { mode: 0o755 });
    using map = BpfMap.create({ ...MAPS.address_filter });
    map.pin(PIN);
    expect(claimDirectory(ROOT)).toEqual([]);
    expect(ownerOf(LINKS)).toBe("0 755");
  });
});
