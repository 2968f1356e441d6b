// The file of denied prefixes: its syntax, what makes it unreadable, and that changes are noticed.

import { spawn } from "node:child_process";
import { mkdtempSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { problemText } from "../../../src/model/problem.ts";
import { isOpenForWriting } from "../../../src/node/kernel-queries.ts";
import {
  type DeniedReading,
  parseDenied,
  readDenied,
  watchDenied,
} from "../../../src/source/denied-prefixes-file.ts";

const MAX = 1_000;
const read = (text: string, max = MAX): Promise<DeniedReading> => parseDenied(text, "deny.txt", max);
const textsOf = ({ problems }: DeniedReading): string[] => problems.map(problemText);

describe("a list", () => {
  it("has one prefix or address a line, in either family, with comments", async () => {
    const reading = await read(
      "# bad ones\n\n10.7.0.0/16 # all of it\n  192.0.2.9\r\nfd07::/64\n2001:DB8::1\n10.7.0.0/16\n",
    );
    expect(reading).toEqual({
      ok: true,
      prefixes: ["10.7.0.0/16", "192.0.2.9/32", "2001:db8::1/128", "fd07::/64"],
      problems: [],
    });
  });

  it("may be empty if it says so", async () => {
    expect(await read("# weir.dev/empty\n")).toEqual({ ok: true, prefixes: [], problems: [] });
  });

  // A file that was truncated must not open the node to what it denied.
  it.each(["", "\n\n", "# nothing\n"])("is otherwise not empty on purpose: %j", async (text) => {
    const reading = await read(text);
    expect(reading.ok).toBe(false);
    expect(textsOf(reading)).toEqual([
      "deny.txt: is empty; to deny nothing, write the comment # weir.dev/empty into it; the previous list stays in force",
    ]);
  });

  it("may be long, and does not block the agent meanwhile", async () => {
    const many = Array.from({ length: 50_000 }, (_, at) => `10.${at >> 16}.${(at >> 8) & 255}.${at & 255}`);
    let turns = 0;
    const turning = setInterval(() => {
      turns += 1;
    }, 1);
    const reading = await read(many.join("\n"), 100_000);
    clearInterval(turning);
    expect(reading.ok && reading.prefixes.length).toBe(50_000);
    expect(turns).toBeGreaterThan(1);
  });

  it("may deny everyone, which is reported", async () => {
    const reading = await read("10.0.0.0/8\n0.0.0.0/0\n::/0\n");
    expect(reading).toMatchObject({ ok: true, prefixes: ["0.0.0.0/0", "10.0.0.0/8", "::/0"] });
    expect(textsOf(reading)).toEqual([
      "deny.txt:2: every IPv4 source is denied; on uplinks nothing of this family passes but ARP and neighbour discovery",
      "deny.txt:3: every IPv6 source is denied; on uplinks nothing of this family passes but ARP and neighbour discovery",
    ]);
  });
});

describe("a list with a wrong line", () => {
  it.each([
    ["10.7.0.0/", 'prefix length "" is not a number from 0 to 32'],
    ["10.7.0.0/1", "it has bits beyond its length; 0.0.0.0/1 would be the whole prefix"],
    ["10.7.0.0/33", 'prefix length "33" is not a number from 0 to 32'],
    ["10.7.0", "not an IPv4 address (four decimal numbers, 0 to 255, without leading zeros)"],
    ["010.7.0.1", "not an IPv4 address (four decimal numbers, 0 to 255, without leading zeros)"],
    ["::ffff:10.7.0.1", "an IPv4-mapped IPv6 address; write the IPv4 address itself"],
    ["fe80::1%eth0", "not an IP address"],
    ["10.7.0.0/16 10.8.0.0/16", 'prefix length "16 10.8.0.0/16" is not a number from 0 to 32'],
    ["evil.example", "not an IP address"],
  ])("%s is unreadable as a whole", async (line, reason) => {
    const reading = await read(`10.1.0.0/16\n# next\n${line}\n10.2.0.0/16\n`);
    expect(reading.ok).toBe(false);
    expect(textsOf(reading)).toEqual([`deny.txt:3: ${line}: ${reason}; the previous list stays in force`]);
  });

  it("reports ten of many", async () => {
    const texts = textsOf(await read("x\n".repeat(13)));
    expect(texts).toHaveLength(11);
    expect(texts.at(-1)).toBe(
      "deny.txt: and 3 more lines that cannot be read; the previous list stays in force",
    );
  });

  it("is also one with too many", async () => {
    const many = Array.from({ length: 11 }, (_, at) => `10.0.0.${at}`).join("\n");
    expect((await read(many, 11)).ok).toBe(true);
    expect(textsOf(await read(many, 10))).toEqual([
      "deny.txt: 11 prefixes, at most 10 are supported; the previous list stays in force",
    ]);
  });
});

describe("the file", () => {
  let directory: string;
  let file: string;

  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-denied-"));
    file = join(directory, "deny.txt");
  });

  afterEach(() => rmSync(directory, { recursive: true }));

  it("that does not exist, is a directory or is not text is unreadable", async () => {
    expect(textsOf(await readDenied(file, { max: MAX }))).toEqual([
      `${file}: cannot be read: ENOENT: no such file or directory; the previous list stays in force`,
    ]);
    expect((await readDenied(directory, { max: MAX })).ok).toBe(false);
    writeFileSync(file, Uint8Array.of(0xff, 0xfe, 0));
    expect(textsOf(await readDenied(file, { max: MAX }))).toEqual([
      `${file}: is not UTF-8 text; the previous list stays in force`,
    ]);
  });

  /** Watches until the test is over. `next` waits for one more result than there were. */
  function watching(lookMs = 5) {
    const stop = new AbortController();
    const readings: DeniedReading[] = [];
    const ended = watchDenied(file, {
      max: MAX,
      openForWriting: isOpenForWriting,
      lookMs,
      signal: stop.signal,
      onChange: (reading) => readings.push(reading),
    });
    return {
      readings,
      async next(count: number): Promise<DeniedReading> {
        for (const deadline = Date.now() + 20_000; readings.length < count && Date.now() < deadline; )
          await sleep(5);
        expect(readings).toHaveLength(count);
        return readings[count - 1] as DeniedReading;
      },
      async end(): Promise<void> {
        stop.abort();
        await ended;
      },
    };
  }

  it("is read again when it is written, replaced, removed, and there again", async () => {
    writeFileSync(file, "10.1.0.0/16\n");
    const watch = watching();
    try {
      expect(await watch.next(1)).toMatchObject({ prefixes: ["10.1.0.0/16"] });
      writeFileSync(file, "10.2.0.0/16\n");
      expect(await watch.next(2)).toMatchObject({ prefixes: ["10.2.0.0/16"] });
      writeFileSync(`${file}.next`, "10.3.0.0/16\n");
      renameSync(`${file}.next`, file);
      expect(await watch.next(3)).toMatchObject({ prefixes: ["10.3.0.0/16"] });
      rmSync(file);
      expect(await watch.next(4)).toMatchObject({ ok: false });
      writeFileSync(file, "nonsense\n");
      expect(await watch.next(5)).toMatchObject({ ok: false });
      writeFileSync(file, "10.4.0.0/16\n");
      expect(await watch.next(6)).toMatchObject({ prefixes: ["10.4.0.0/16"] });
    } finally {
      await watch.end();
    }
  });

  it("counts when it is closed: until then a list that is being written is reported", async () => {
    writeFileSync(file, "10.1.0.0/16\n10.2.0.0/16\n");
    const watch = watching();
    const child = spawn("sh", [
      "-c",
      `read go; exec 3>"$1"; echo 10.1.0.0/16 >&3; read go; exec 3>&-; read go`,
      "sh",
      file,
    ]);
    try {
      await watch.next(1);
      child.stdin.write("go\n");
      expect(textsOf(await watch.next(2))).toEqual([
        `${file}: is open for writing; the previous list stays in force`,
      ]);
      child.stdin.write("go\n");
      expect(await watch.next(3)).toMatchObject({ prefixes: ["10.1.0.0/16"] });
    } finally {
      child.kill("SIGKILL");
      await watch.end();
    }
  });

  it("may be a symbolic link that is switched, as in a ConfigMap's volume", async () => {
    for (const name of ["a", "b"])
      writeFileSync(join(directory, name), `${name === "a" ? 10 : 11}.0.0.0/8\n`);
    symlinkSync("a", file);
    const watch = watching();
    try {
      expect(await watch.next(1)).toMatchObject({ prefixes: ["10.0.0.0/8"] });
      symlinkSync("b", `${file}.next`);
      renameSync(`${file}.next`, file);
      expect(await watch.next(2)).toMatchObject({ prefixes: ["11.0.0.0/8"] });
    } finally {
      await watch.end();
    }
  });

  it("counts when it has stayed as it is, whatever other files in its directory do meanwhile", async () => {
    writeFileSync(file, "10.1.0.0/16\n10.2.0.0/16\n");
    const lookMs = 1_000;
    const stop = new AbortController();
    const readings: DeniedReading[] = [];
    // No evidence of open files, as on a network file system.
    const ended = watchDenied(file, {
      max: MAX,
      lookMs,
      signal: stop.signal,
      onChange: (each) => readings.push(each),
    });
    const noise = setInterval(() => writeFileSync(join(directory, "noise"), String(Math.random())), 20);
    try {
      await expect.poll(() => readings.length).toBe(1);
      writeFileSync(file, "10.1.0.0/16\n");
      const begun = performance.now();
      await expect.poll(() => readings.length, { interval: 5, timeout: 20_000 }).toBe(2);
      expect(performance.now() - begun).toBeGreaterThan(lookMs * 0.9);
    } finally {
      clearInterval(noise);
      stop.abort();
      await ended;
    }
  });

  it("is not read again while it stays as it is", async () => {
    writeFileSync(file, "10.1.0.0/16\n");
    const watch = watching();
    try {
      await watch.next(1);
      await sleep(200);
      expect(watch.readings).toHaveLength(1);
    } finally {
      await watch.end();
    }
  });
});
