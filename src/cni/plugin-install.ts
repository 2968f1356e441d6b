// Installs the plugin on a node: its binary among the runtime's plugins, its entry in the configuration that the
// runtime uses.

import { createHash } from "node:crypto";
import {
  chmodSync,
  chownSync,
  closeSync,
  fsyncSync,
  openSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  type Stats,
  statSync,
  writeSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { codeOf, messageOf, OperationError } from "../base/errors.ts";
import type { Problem } from "../model/problem.ts";
import {
  type Configuration,
  type Entry,
  hasEntry,
  listOf,
  PLUGIN_TYPE,
  readConfiguration,
  withEntry,
  withoutEntry,
} from "./conflist.ts";

export interface InstallOptions {
  /** Where the runtime looks for network configurations, and for plugins. */
  readonly confDir: string;
  readonly binDir: string;
  /** The built plugin. */
  readonly binary: string;
  readonly entry: Entry;
}

export interface Installed {
  /** The configuration that holds the entry; undefined where none can. */
  readonly file: string | undefined;
  /** Files that were written or removed. */
  readonly changed: readonly string[];
  readonly problems: readonly Problem[];
}

/** Where the runtime uses one plugin alone (*.conf), this list takes its place: it comes before it. */
export const OWN_FILE = "00-weir.conflist";

const NOT_CHAINED = "new pods start without waiting for their policies";

interface Found {
  readonly path: string;
  readonly text: string;
  readonly configuration: Configuration;
}

/** What the runtime reads, in its order: bytewise by name, as Go sorts (libcni's ConfFiles). */
function configurationFiles(confDir: string): string[] {
  const names = readdirSync(confDir).filter((name) => /\.(?:conf|conflist|json)$/.test(name));
  return names
    .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)))
    .map((name) => join(confDir, name));
}

const BYTES_MAX = 1 << 20;

/** The directory may hold anything: links that lead nowhere, directories, pipes. */
function textOf(path: string): { readonly text: string } | { readonly reason: string } {
  try {
    const held = statOf(path);
    if (held === undefined) return { reason: "it leads to no file" };
    if (!held.isFile()) return { reason: "it is not a regular file" };
    if (held.size > BYTES_MAX) return { reason: `it has more than ${BYTES_MAX} bytes` };
    return { text: readFileSync(path, "utf8") };
  } catch (thrown) {
    return { reason: messageOf(thrown) };
  }
}

function read(path: string): Found | { readonly reason: string } {
  const held = textOf(path);
  return "reason" in held ? held : { path, text: held.text, configuration: readConfiguration(held.text) };
}

const problemOf = (file: string, reason: string): Problem => ({
  severity: "error",
  file,
  reason,
  effect: NOT_CHAINED,
});

interface Active {
  readonly found?: Found;
  /** There is no other configuration than our own. */
  readonly none?: true;
  readonly problems: readonly Problem[];
}

/** The file that the runtime uses, our own one aside; where the first one calls others, the next one. */
function activeIn(confDir: string): Active {
  const problems: Problem[] = [];
  for (const path of configurationFiles(confDir)) {
    if (basename(path) === OWN_FILE) continue;
    const found = read(path);
    if ("reason" in found) return { problems: [...problems, problemOf(path, found.reason)] };
    if (found.configuration.kind === "wrong")
      return { problems: [...problems, problemOf(path, found.configuration.reason)] };
    if (!found.configuration.isMeta) return { found, problems };
    problems.push({
      severity: "warning",
      file: path,
      reason: "it calls the plugins of other configurations",
      effect: "weir-cni is chained to the next one, which must be its default network",
    });
  }
  return { none: true, problems: [...problems, problemOf(confDir, "there is no network configuration")] };
}

/** Installs the plugin; does nothing where it is installed. @throws OperationError */
export function install(options: InstallOptions): Installed {
  return attempt("install", options.confDir, () => {
    const { confDir, entry } = options;
    const changed = installBinary(options);
    const { found, none, problems } = activeIn(confDir);
    if (found === undefined) {
      // A list of our own without the configuration that it was made of would keep a removed network up.
      const removed = none === true ? removeOwn(confDir) : [];
      return { file: undefined, changed: [...changed, ...removed], problems };
    }
    const single = found.configuration.kind === "single";
    const file = single ? join(confDir, OWN_FILE) : found.path;
    if (single && Buffer.compare(Buffer.from(OWN_FILE), Buffer.from(basename(found.path))) >= 0) {
      const reason = `it is not a list and comes before ${OWN_FILE}, which would be one; rename it to *.conflist`;
      return { file: undefined, changed, problems: [...problems, problemOf(found.path, reason)] };
    }
    const wanted = single ? listOf(found.text, entry) : withEntry(found.text, entry);
    const put = putText(file, wanted) ? [file] : [];
    return { file, changed: [...changed, ...put, ...removeFrom(confDir, file)], problems };
  });
}

/** Removes the entry, our own file and the binary. @throws OperationError */
export function uninstall({
  confDir,
  binDir,
}: Pick<InstallOptions, "confDir" | "binDir">): readonly string[] {
  return attempt("uninstall from", confDir, () => {
    // The binary last: a configuration must not name a plugin that is not there.
    const files = removeFrom(confDir, undefined);
    const binary = join(binDir, PLUGIN_TYPE);
    if (statOf(binary) === undefined) return files;
    rmSync(binary);
    return [...files, binary];
  });
}

/** Removes the entry from every file but one. */
function removeFrom(confDir: string, keep: string | undefined): string[] {
  if (statOf(confDir) === undefined) return [];
  const changed: string[] = [];
  for (const path of configurationFiles(confDir)) {
    if (path === keep) continue;
    const held = textOf(path);
    if ("reason" in held || !hasEntry(held.text)) continue;
    if (basename(path) === OWN_FILE) rmSync(path);
    else putText(path, withoutEntry(held.text));
    changed.push(path);
  }
  return changed;
}

function removeOwn(confDir: string): string[] {
  const path = join(confDir, OWN_FILE);
  if (statOf(path) === undefined) return [];
  rmSync(path);
  return [path];
}

export interface InstallState {
  readonly file: string | undefined;
  readonly entry: boolean;
  readonly binary: "current" | "other" | "missing";
  readonly problems: readonly Problem[];
}

/** The state of the installation, without a change. @throws OperationError */
export function inspect({ confDir, binDir, binary }: Omit<InstallOptions, "entry">): InstallState {
  return attempt("read", confDir, () => {
    const { found, problems } = activeIn(confDir);
    const single = found?.configuration.kind === "single";
    const file = single ? join(confDir, OWN_FILE) : found?.path;
    const text = file === undefined || statOf(file) === undefined ? "" : readFileSync(file, "utf8");
    const target = join(binDir, PLUGIN_TYPE);
    const held = statOf(target) === undefined ? undefined : digestOf(target);
    const state = held === undefined ? "missing" : held === digestOf(binary) ? "current" : "other";
    return { file, entry: hasEntry(text), binary: state, problems };
  });
}

const digestOf = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");

function installBinary({ binary, binDir }: InstallOptions): string[] {
  const target = join(binDir, PLUGIN_TYPE);
  const held = statOf(target);
  if (held?.isFile() === true && (held.mode & 0o777) === 0o755 && digestOf(target) === digestOf(binary))
    return [];
  putBytes(target, readFileSync(binary), { mode: 0o755 });
  return [target];
}

/** Whether it had to be written. A file keeps its mode and owner; a new one is for all to read. */
function putText(path: string, text: string): boolean {
  const held = statOf(path);
  if (held !== undefined && readFileSync(path, "utf8") === text) return false;
  // What a symbolic link leads to is written, not the link.
  const target = held === undefined ? path : realpathSync(path);
  putBytes(target, Buffer.from(text), held ?? { mode: 0o644 });
  return true;
}

/** Written beside it, under a name that no runtime reads, then renamed into its place. */
function putBytes(
  path: string,
  bytes: Buffer,
  like: Pick<Stats, "mode"> & Partial<Pick<Stats, "uid" | "gid">>,
): void {
  const beside = join(dirname(path), `.${basename(path)}.weir`);
  rmSync(beside, { force: true });
  try {
    const fd = openSync(beside, "wx", 0o600);
    try {
      for (let at = 0; at < bytes.length; ) at += writeSync(fd, bytes, at);
      fsyncSync(fd);
    } finally {
      closeSync(fd);
    }
    // Only where necessary: an agent in a container may have dropped the privilege for it.
    const made = statSync(beside);
    const { uid = made.uid, gid = made.gid } = like;
    if (uid !== made.uid || gid !== made.gid) chownSync(beside, uid, gid);
    chmodSync(beside, like.mode & 0o777);
    renameSync(beside, path);
  } catch (thrown) {
    rmSync(beside, { force: true });
    throw thrown;
  }
}

const statOf = (path: string): Stats | undefined => statSync(path, { throwIfNoEntry: false });

function attempt<T>(operation: string, confDir: string, work: () => T): T {
  try {
    return work();
  } catch (thrown) {
    const code = codeOf(thrown);
    throw new OperationError(messageOf(thrown), {
      operation,
      object: confDir,
      ...(code === undefined ? {} : { code }),
      cause: thrown,
    });
  }
}
