// Manifest files on disk: which there are, and whether one has changed.

import { type BigIntStats, constants } from "node:fs";
import { type FileHandle, lstat, open, readdir, readlink, stat } from "node:fs/promises";
import { join } from "node:path";
import { digestOf } from "../../base/digest.ts";
import { codeOf, messageOf } from "../../base/errors.ts";
import type { Problem } from "../../model/problem.ts";
import { visible } from "../parse/fields.ts";
import { type Contents, INLINE_BYTES_MAX, readAtOnce } from "./file-contents.ts";
import { decode, type FileReading, failedReading, NOT_TEXT, NOTHING_READ } from "./manifest-reading.ts";

/** The largest file that is read. What is larger can be divided into several files. */
export const FILE_BYTES_MAX = 8 * 1024 * 1024;

/**
 * Time stamps of files are only as fine as the kernel's tick (10 ms at most). One that is younger than this when the
 * file is read may stay the same in a later change, so it is not relied on.
 */
export const STAMP_SETTLED_MS = 50;

const EXTENSIONS = [".yaml", ".yml", ".json"];

/** Whether a process has the file with this descriptor open for writing; undefined where that cannot be determined. */
export type OpenForWriting = (fd: number) => boolean | undefined;

export const UNKNOWN_WRITERS: OpenForWriting = () => undefined;

/** A file as it was at one look. */
export interface Seen {
  /** Which file it is, whatever its content: another one where it was replaced. */
  readonly identity: string;
  /** Whether it was open for writing after it was read. */
  readonly writing: boolean | undefined;
  /** Equal at two looks where the file has not changed between them. */
  readonly signature: string;
  /** Of the content: equal content is not read again. */
  readonly digest: string;
  readonly reading: FileReading;
  /** Set while the content is being read: the signature of the file then. */
  readonly beingRead?: string;
}

export interface LookHow {
  readonly openForWriting?: OpenForWriting;
  /** What reads the files' contents; without it, they are read at once. */
  readonly contents?: Contents;
  /** The last good content of a file, where it is kept: `identity` finds it under the name that the file had then. */
  readonly lastGood?: (file: string, identity: string) => Promise<Uint8Array | undefined>;
}

/**
 * The manifest files of a directory, or the one file that the path names, sorted. As with `kubectl apply -f DIR`:
 * .yaml, .yml and .json, no subdirectories. Hidden files are left out: editors' and Kubernetes' own (`..data` of a
 * mounted ConfigMap; its entries are symbolic links, which are followed). Throws what the file system throws.
 */
export async function listManifests(path: string): Promise<readonly string[]> {
  const given = await stat(path);
  if (!given.isDirectory()) return [path];
  const entries = await readdir(path, { withFileTypes: true });
  const names = entries.filter((entry) => !entry.isDirectory()).map((entry) => entry.name);
  const manifests = names.filter(
    (name) => !name.startsWith(".") && EXTENSIONS.some((end) => name.endsWith(end)),
  );
  return manifests.sort().map((name) => join(path, name));
}

/**
 * Looks at a file, and reads it where it differs from `known`. Undefined where it is gone, or a directory. What the
 * file system refuses is a failed reading.
 */
export async function lookAt(
  file: string,
  known: Seen | undefined,
  how: LookHow = {},
): Promise<Seen | undefined> {
  try {
    const stats = await stat(file, { bigint: true });
    if (stats.isDirectory()) return undefined;
    if (known?.beingRead === signatureOf(stats) && how.contents?.isReading(file) === true) return known;
    // A file that was open for writing may have been closed without another change.
    const isKnown = signatureOf(stats) === known?.signature && known.writing !== true;
    return isKnown ? known : await readAt(file, known, how);
  } catch (error) {
    const code = codeOf(error);
    if (code === undefined) throw error;
    if (code === "ENOENT" && (await isGone(file))) return undefined;
    const reason = `cannot be read: ${systemReason(error)}`;
    return known?.signature === reason
      ? known
      : unreadable(file, reason, { signature: reason, identity: reason });
  }
}

export type FileText =
  | { readonly ok: true; readonly text: string; readonly writing?: boolean | undefined }
  | { readonly ok: false; readonly reason: string };

export type FileBytes =
  | { readonly ok: true; readonly bytes: Buffer; readonly writing: boolean | undefined }
  | { readonly ok: false; readonly reason: string };

/** The content of a file, or why there is none. */
export async function bytesOfFile(
  file: string,
  openForWriting: OpenForWriting = UNKNOWN_WRITERS,
): Promise<FileBytes> {
  try {
    const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
    try {
      if (!(await handle.stat()).isFile()) return { ok: false, reason: NOT_REGULAR };
      const bytes = await readBounded(chunksOf(handle));
      if (bytes === undefined) return { ok: false, reason: TOO_LARGE };
      return { ok: true, bytes, writing: openForWriting(handle.fd) };
    } finally {
      await handle.close();
    }
  } catch (error) {
    if (codeOf(error) === undefined) throw error;
    return { ok: false, reason: `cannot be read: ${systemReason(error)}` };
  }
}

/** The text of a file, or why there is none. */
export async function textOfFile(file: string, openForWriting?: OpenForWriting): Promise<FileText> {
  const content = await bytesOfFile(file, openForWriting);
  if (!content.ok) return content;
  const text = textOf(content.bytes);
  return text.ok ? { ...text, writing: content.writing } : text;
}

/** The text of a stream, within the limits of a file. */
export const textOfStream = async (stream: AsyncIterable<Uint8Array>): Promise<FileText> =>
  textOf(await readBounded(stream));

const NOT_REGULAR = "is not a regular file";
const TOO_LARGE = `is larger than ${FILE_BYTES_MAX} bytes, the maximum`;

function textOf(bytes: Buffer | undefined): FileText {
  if (bytes === undefined) return { ok: false, reason: TOO_LARGE };
  const text = decode(bytes);
  return text === undefined ? { ok: false, reason: NOT_TEXT } : { ok: true, text };
}

async function readAt(
  file: string,
  known: Seen | undefined,
  { openForWriting = UNKNOWN_WRITERS, contents, lastGood }: LookHow,
): Promise<Seen> {
  // Opening a FIFO for reading would wait for a writer.
  const handle = await open(file, constants.O_RDONLY | constants.O_NONBLOCK);
  try {
    // The signature is from before the read: what changes meanwhile is seen at the next look.
    const stats = await handle.stat({ bigint: true });
    const age = Date.now() - Number(stats.ctimeMs);
    const signature = age < STAMP_SETTLED_MS ? `${signatureOf(stats)}, read at once` : signatureOf(stats);
    const of = { signature, identity: `${stats.dev}:${stats.ino}:${stats.birthtimeNs}` };
    if (!stats.isFile()) return unreadable(file, NOT_REGULAR, of);
    if (known !== undefined && signature === known.signature)
      return { ...known, writing: openForWriting(handle.fd) };
    const unread = { ...of, signature: `${signature}, unread`, digest: "", writing: true } as const;
    const last = { ...(known?.reading ?? NOTHING_READ), file: visible(file) };
    // What does not count before it is closed need not be read before, where that costs anything.
    if (known !== undefined && stats.size > INLINE_BYTES_MAX && openForWriting(handle.fd) === true)
      return { ...unread, reading: last };
    const bytes = await readBounded(chunksOf(handle));
    if (bytes === undefined) return unreadable(file, TOO_LARGE, of);
    // Checked after the read: a writer that has closed the file before has written all that was read, or changed its
    // stamps.
    const writing = openForWriting(handle.fd);
    const digest = digestOf(bytes);
    if (digest === known?.digest) return { ...known, ...of, writing };
    if (isCutOff(bytes, await lastGood?.(file, of.identity)))
      return { ...of, writing, digest, reading: failedReading(file, CUT_OFF) };
    const reading = await (contents ?? readAtOnce).of(file, bytes, digest);
    if (reading === undefined) return { ...unread, reading: last, beingRead: signatureOf(stats) };
    if (reading.isTransient !== true) return { ...of, writing, digest, reading };
    // The same object where nothing has changed: callers that compare by identity see that.
    const isSame = known?.reading.problems[0]?.reason === reading.problems[0]?.reason;
    return { ...unread, writing, reading: known !== undefined && isSame ? known.reading : reading };
  } finally {
    await handle.close();
  }
}

const CUT_OFF = "is cut off in the middle of a line";

/**
 * Whether this is the beginning of the last good content, and ends in the middle of a line where that one did not. What is left
 * may be valid, and say something else: a port 8 of 8080.
 */
const isCutOff = (bytes: Buffer, last: Uint8Array | undefined): boolean =>
  last !== undefined &&
  bytes.length > 0 &&
  bytes.length < last.length &&
  bytes.at(-1) !== LINE_END &&
  last.at(-1) === LINE_END &&
  bytes.length !== last.length - 1 &&
  bytes.equals(last.subarray(0, bytes.length));

const LINE_END = 0x0a;

const unreadable = (file: string, reason: string, of: Pick<Seen, "signature" | "identity">): Seen => ({
  ...of,
  writing: false,
  digest: "",
  reading: failedReading(file, reason),
});

const signatureOf = ({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string =>
  [dev, ino, size, mtimeNs, ctimeNs].join(":");

async function* chunksOf(handle: FileHandle): AsyncGenerator<Uint8Array> {
  for (;;) {
    const { bytesRead, buffer } = await handle.read({ buffer: Buffer.alloc(64 * 1024), position: null });
    if (bytesRead === 0) return;
    yield buffer.subarray(0, bytesRead);
  }
}

/** All of it, or undefined where it is too large. A file may grow while it is read. */
async function readBounded(chunks: AsyncIterable<Uint8Array>): Promise<Buffer | undefined> {
  const kept: Uint8Array[] = [];
  let total = 0;
  for await (const chunk of chunks) {
    total += chunk.length;
    if (total > FILE_BYTES_MAX) return undefined;
    kept.push(chunk);
  }
  return Buffer.concat(kept, total);
}

/** What the entries of a mounted ConfigMap lead through: the kubelet removes those that dangle a moment after the switch. */
const MOUNTED = /^\.\.data\//;

/** Whether there is nothing of this name; a symbolic link that leads nowhere is something, but not a mounted ConfigMap's. */
async function isGone(file: string): Promise<boolean> {
  try {
    const stats = await lstat(file);
    return stats.isSymbolicLink() && MOUNTED.test(await readlink(file));
  } catch (error) {
    return codeOf(error) === "ENOENT";
  }
}

/** As in "EACCES: permission denied", without the call and the path that Node adds. */
export const systemReason = (error: unknown): string => messageOf(error).replace(/, .*$/s, "");

// One look at all manifest files of a path.

export type Look =
  | {
      readonly ok: true;
      readonly seen: ReadonlyMap<string, Seen>;
      /** Which directory (or file) it is: another one where it was replaced. */
      readonly identity: string;
      /** The version of a mounted ConfigMap or Secret: what its link `..data` leads to. */
      readonly version: string | undefined;
    }
  /** The directory itself cannot be read. */
  | { readonly ok: false; readonly problem: Problem };

/** How often a look is repeated where a mounted ConfigMap is switched meanwhile. */
const SWITCHES_MAX = 5;

/** What an earlier look saw of a file. */
export type Known = (file: string) => Seen | undefined;

/**
 * Looks at every file, reading those that differ from `known`. All files of a mounted ConfigMap are of one version:
 * where the version is switched during the look, it is repeated.
 */
export async function lookAtAll(path: string, known: Known, how: LookHow): Promise<Look> {
  for (let attempt = 1; ; attempt += 1) {
    const version = await versionOf(path);
    const look = await lookOnce(path, known, how);
    if (!look.ok) return look;
    if (version === (await versionOf(path)) || attempt === SWITCHES_MAX) return { ...look, version };
  }
}

/** @returns undefined where the path is not a mounted ConfigMap */
const versionOf = (path: string): Promise<string | undefined> =>
  readlink(join(path, "..data")).catch(() => undefined);

async function lookOnce(path: string, known: Known, how: LookHow) {
  let files: readonly string[];
  let identity: string;
  try {
    const { dev, ino } = await stat(path);
    identity = `${dev}:${ino}`;
    files = await listManifests(path);
  } catch (error) {
    const reason = `cannot be read: ${systemReason(error)}`;
    return { ok: false, problem: { severity: "error", file: visible(path), reason } } as const;
  }
  how.contents?.forgetOthers(new Set(files));
  const seen = new Map<string, Seen>();
  for (const file of files) {
    const look = await lookAt(file, known(file), how);
    if (look !== undefined) seen.set(file, look);
  }
  return { ok: true, seen, identity } as const;
}
