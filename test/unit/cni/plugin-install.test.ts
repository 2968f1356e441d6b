// The plugin on a node: files in real directories, as a runtime finds them, and changes by others meanwhile.

import { execFileSync } from "node:child_process";
import {
  chmodSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { type ConflistReconciler, reconcileConflist } from "../../../src/cni/conflist-reconciler.ts";
import { inspect, install, uninstall } from "../../../src/cni/plugin-install.ts";

const LIST = '{\n  "cniVersion": "1.0.0",\n  "name": "net",\n  "plugins": [\n    { "type": "ptp" }\n  ]\n}\n';

let root: string;
let follower: ConflistReconciler | undefined;

beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), "wt-cni-"));
  for (const name of ["conf", "bin"]) mkdirSync(join(root, name));
  writeFileSync(join(root, "plugin"), "the plugin");
});

afterEach(() => {
  follower?.close();
  follower = undefined;
  rmSync(root, { recursive: true });
});

const options = (socket = "/run/weir/cni.sock") => ({
  confDir: join(root, "conf"),
  binDir: join(root, "bin"),
  binary: join(root, "plugin"),
  entry: { socket },
});
const conf = (name: string): string => join(root, "conf", name);
const put = (name: string, text: string): void => writeFileSync(conf(name), text);
const textOf = (name: string): string => readFileSync(conf(name), "utf8");
const types = (name: string): string[] =>
  JSON.parse(textOf(name)).plugins.map(({ type }: { type: string }) => type);
const names = (directory: string): string[] => readdirSync(join(root, directory)).sort();

describe("install", () => {
  it("adds the entry to the first list, copies the plugin, and does it once", () => {
    put("20-later.conflist", LIST);
    put("10-net.conflist", LIST);
    expect(install(options())).toEqual({
      file: conf("10-net.conflist"),
      changed: [join(root, "bin", "weir-cni"), conf("10-net.conflist")],
      problems: [],
    });
    expect(types("10-net.conflist")).toEqual(["ptp", "weir-cni"]);
    expect(textOf("20-later.conflist")).toBe(LIST);
    expect(statSync(join(root, "bin", "weir-cni")).mode & 0o777).toBe(0o755);
    expect(install(options()).changed).toEqual([]);
    expect(inspect(options())).toEqual({
      file: conf("10-net.conflist"),
      entry: true,
      binary: "current",
      problems: [],
    });
    expect([names("conf"), names("bin")]).toEqual([["10-net.conflist", "20-later.conflist"], ["weir-cni"]]);
  });

  it.each([
    ["a link that leads nowhere", (path: string) => symlinkSync("nowhere", path), "it leads to no file"],
    ["a directory", (path: string) => mkdirSync(path), "it is not a regular file"],
    ["a pipe", (path: string) => execFileSync("mkfifo", [path]), "it is not a regular file"],
    [
      "a huge file",
      (path: string) => writeFileSync(path, " ".repeat(2 << 20)),
      "it has more than 1048576 bytes",
    ],
  ])("recognizes %s by name, first or last", (_, make, reason) => {
    put("10-net.conflist", LIST);
    make(conf("99-odd.conf"));
    expect(install(options())).toMatchObject({ file: conf("10-net.conflist"), problems: [] });
    expect(uninstall(options())).toContain(conf("10-net.conflist"));
    make(conf("00-odd.conf"));
    expect(install(options())).toMatchObject({
      file: undefined,
      problems: [{ severity: "error", file: conf("00-odd.conf"), reason }],
    });
    expect(textOf("10-net.conflist")).toBe(LIST);
  });

  it("removes its own list with the configuration that it was made of", () => {
    put("10-net.conf", '{"cniVersion": "1.0.0", "name": "net", "type": "ptp"}');
    expect(install(options()).file).toBe(conf("00-weir.conflist"));
    rmSync(conf("10-net.conf"));
    expect(install(options())).toMatchObject({ file: undefined, changed: [conf("00-weir.conflist")] });
    expect(names("conf")).toEqual([]);
  });

  it("and uninstall leaves what was there before, with its mode", () => {
    put("10-net.conflist", LIST);
    chmodSync(conf("10-net.conflist"), 0o640);
    install(options());
    expect(statSync(conf("10-net.conflist")).mode & 0o777).toBe(0o640);
    expect(uninstall(options())).toEqual([conf("10-net.conflist"), join(root, "bin", "weir-cni")]);
    expect(textOf("10-net.conflist")).toBe(LIST);
    expect(statSync(conf("10-net.conflist")).mode & 0o777).toBe(0o640);
    expect([names("conf"), names("bin")]).toEqual([["10-net.conflist"], []]);
    expect(uninstall(options())).toEqual([]);
  });

  it("replaces an older plugin by a newer one", () => {
    put("10-net.conflist", LIST);
    install(options());
    writeFileSync(join(root, "plugin"), "a newer one");
    expect(inspect(options()).binary).toBe("other");
    expect(install(options()).changed).toEqual([join(root, "bin", "weir-cni")]);
    expect(readFileSync(join(root, "bin", "weir-cni"), "utf8")).toBe("a newer one");
  });

  it("moves to the configuration that comes first now", () => {
    put("10-net.conflist", LIST);
    install(options());
    put("05-new.conflist", LIST);
    install(options());
    expect([types("05-new.conflist"), textOf("10-net.conflist")]).toEqual([["ptp", "weir-cni"], LIST]);
  });

  it("makes a list of its own of a single plugin, follows it, and removes that", () => {
    const single = '{"cniVersion":"0.4.0","name":"old","type":"ptp"}\n';
    put("10-old.conf", single);
    expect(install(options()).file).toBe(conf("00-weir.conflist"));
    expect([types("00-weir.conflist"), textOf("10-old.conf")]).toEqual([["ptp", "weir-cni"], single]);
    put("10-old.conf", single.replace("ptp", "bridge"));
    install(options());
    expect(types("00-weir.conflist")).toEqual(["bridge", "weir-cni"]);
    put("05-new.conflist", LIST);
    install(options());
    expect(names("conf")).toEqual(["05-new.conflist", "10-old.conf"]);
    rmSync(conf("05-new.conflist"));
    install(options());
    uninstall(options());
    expect(names("conf")).toEqual(["10-old.conf"]);
  });

  it("reports a single plugin that comes before anything of its own", () => {
    put("00-a.conf", '{"name":"a","type":"ptp"}');
    const { file, problems } = install(options());
    expect(file).toBeUndefined();
    expect(problems).toMatchObject([{ severity: "error", file: conf("00-a.conf") }]);
    expect(names("conf")).toEqual(["00-a.conf"]);
  });

  it("leaves what it cannot read unchanged", () => {
    for (const text of ["", "{", '{"name":"x","plugins":"no"}', '{"name":"x","plugins":[]}', "\0\xff"]) {
      put("10-net.conflist", text);
      expect(install(options())).toMatchObject({ file: undefined, problems: [{ severity: "error" }] });
      expect(textOf("10-net.conflist")).toBe(text);
    }
    rmSync(conf("10-net.conflist"));
    expect(install(options()).problems).toMatchObject([{ reason: "there is no network configuration" }]);
    expect(() => install({ ...options(), confDir: join(root, "gone") })).toThrow("no such file or directory");
  });

  it("chains to the default network of one that calls others", () => {
    put("00-multus.conf", '{"name":"multus","type":"multus"}');
    put("10-net.conflist", LIST);
    expect(install(options())).toMatchObject({
      file: conf("10-net.conflist"),
      problems: [{ severity: "warning", file: conf("00-multus.conf") }],
    });
  });

  it("writes to the target of a symbolic link", () => {
    writeFileSync(join(root, "real"), LIST);
    symlinkSync(join(root, "real"), conf("10-net.conflist"));
    install(options());
    expect(lstatSync(conf("10-net.conflist")).isSymbolicLink()).toBe(true);
    uninstall(options());
    expect(readFileSync(join(root, "real"), "utf8")).toBe(LIST);
  });
});

describe("while it is followed", () => {
  const follow = (): void => {
    follower = reconcileConflist(options(), { onWritten: () => undefined, onProblems: () => undefined });
  };
  /** As an agent of a CNI writes its configuration. */
  const rewrite = (name: string, text: string): void => {
    writeFileSync(join(root, "new"), text);
    renameSync(join(root, "new"), conf(name));
  };
  const isChained = (): boolean => types("10-net.conflist").includes("weir-cni");

  it("an entry that another program has removed is restored", async () => {
    put("10-net.conflist", LIST);
    follow();
    expect(isChained()).toBe(true);
    rewrite("10-net.conflist", LIST);
    await expect.poll(isChained, { timeout: 30_000 }).toBe(true);
  });

  it("it is restored at increasing intervals, and reported", async () => {
    put("10-net.conflist", LIST);
    follow();
    const quarrels = (): boolean =>
      follower?.problems().some(({ severity }) => severity === "warning") === true;
    const fight = setInterval(() => rewrite("10-net.conflist", LIST), 50);
    try {
      await expect.poll(quarrels, { timeout: 60_000 }).toBe(true);
    } finally {
      clearInterval(fight);
    }
  });

  it("a configuration that comes later gets it, and problems are reported until they are resolved", async () => {
    follow();
    expect(follower?.problems()).toMatchObject([{ reason: "there is no network configuration" }]);
    put("10-net.conflist", "{");
    await expect
      .poll(() => follower?.problems().map(({ reason }) => reason), { timeout: 30_000 })
      .toEqual(["it is not JSON"]);
    put("10-net.conflist", LIST);
    await expect.poll(isChained, { timeout: 30_000 }).toBe(true);
    expect(follower?.problems()).toEqual([]);
  });
});
