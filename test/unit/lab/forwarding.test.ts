// Forwarding settings, on a directory tree laid out as the kernel lays out /proc/sys/net.

import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import {
  type ForwardingPaths,
  forwardFrom,
  forwardNodeWide,
  stopForwardingNodeWide,
} from "../../../src/lab/forwarding.ts";

let root: string;
let paths: ForwardingPaths;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "weir-forwarding-"));
  paths = { ipv4Conf: join(root, "ipv4"), ipv6Conf: join(root, "ipv6"), record: join(root, "record") };
});

afterEach(() => rmSync(root, { recursive: true }));

function write(path: string, value: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), `${value}\n`);
}

const read = (path: string): string => readFileSync(join(root, path), "utf8").trim();

function oldKernel(): void {
  for (const link of ["all", "default", "eth0"]) write(`ipv6/${link}/forwarding`, "0");
  write("ipv6/tun0/forwarding", "1");
}

it("a link forwards by settings of its own", () => {
  write("ipv4/x-1/forwarding", "0");
  write("ipv6/x-1/disable_ipv6", "1");
  write("ipv6/x-1/accept_ra", "1");
  write("ipv6/x-1/force_forwarding", "0");
  forwardFrom("x-1", paths);
  expect(
    ["ipv4/x-1/forwarding", "ipv6/x-1/disable_ipv6", "ipv6/x-1/accept_ra", "ipv6/x-1/force_forwarding"].map(
      read,
    ),
  ).toEqual(["1", "0", "0", "1"]);
});

it("where links can be forced, the node's own setting is not changed", () => {
  write("ipv6/all/forwarding", "0");
  write("ipv6/all/force_forwarding", "0");
  forwardNodeWide("a", paths);
  expect(read("ipv6/all/forwarding")).toBe("0");
  expect(existsSync(paths.record)).toBe(false);
});

describe("where only the node's own setting helps", () => {
  it("it is set until the last lab ends, and then every link has its old one", () => {
    oldKernel();
    forwardNodeWide("a", paths);
    forwardNodeWide("b", paths);
    expect(read("ipv6/all/forwarding")).toBe("1");
    // As the kernel does on a write to `all`.
    write("ipv6/eth0/forwarding", "1");
    stopForwardingNodeWide("a", paths);
    expect(read("ipv6/all/forwarding")).toBe("1");
    stopForwardingNodeWide("a", paths);
    write("ipv6/tun0/forwarding", "0");
    stopForwardingNodeWide("b", paths);
    expect([read("ipv6/all/forwarding"), read("ipv6/tun0/forwarding")]).toEqual(["0", "1"]);
    expect(existsSync(paths.record)).toBe(false);
  });

  it("the next lab of a killed one's name restores it", () => {
    oldKernel();
    forwardNodeWide("killed", paths);
    forwardNodeWide("killed", paths);
    stopForwardingNodeWide("killed", paths);
    expect(read("ipv6/all/forwarding")).toBe("0");
  });

  it("it stays as it is if it was on before", () => {
    oldKernel();
    write("ipv6/all/forwarding", "1");
    forwardNodeWide("a", paths);
    stopForwardingNodeWide("a", paths);
    expect(read("ipv6/all/forwarding")).toBe("1");
  });
});
