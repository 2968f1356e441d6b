// Images as archives that `ctr images import` accepts, built without a container engine: pause, the peers of the tests, and Weir itself.

import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { buildRelaid, OTHER_CONSTANT } from "../support/relaid.ts";

export const ROOT = fileURLToPath(new URL("../..", import.meta.url));
const SOURCES = fileURLToPath(new URL("image", import.meta.url));

export const PAUSE_IMAGE = "weir.test/pause:1";
export const PEER_IMAGE = "weir.test/peer:1";

/** Tags of the two images: of this tree, and of one whose maps have another layout. */
export const TAGS = { built: "0.1.0", relaid: "0.2.0" } as const;
export const imageOf = (tag: string): string => `docker.io/library/weir:${tag}`;

interface ImageConfig {
  readonly Entrypoint?: readonly string[];
  readonly Cmd?: readonly string[];
  readonly Env?: readonly string[];
  readonly User?: string;
  readonly Labels?: Readonly<Record<string, string>>;
}

/** Writes the archive of an image whose one layer is the file system below `root`. */
function writeImage(
  archive: string,
  { name, root, config }: { name: string; root: string; config: ImageConfig },
): void {
  const parts = mkdtempSync(`${archive}.parts-`);
  try {
    const layer = join(parts, "layer.tar");
    execFileSync("tar", ["--owner=0", "--group=0", "--numeric-owner", "-C", root, "-cf", layer, "."]);
    const digest = execFileSync("sha256sum", [layer], { encoding: "utf8" }).split(" ")[0];
    const image = {
      architecture: process.arch === "x64" ? "amd64" : process.arch,
      os: "linux",
      config,
      rootfs: { type: "layers", diff_ids: [`sha256:${digest}`] },
    };
    const text = JSON.stringify(image);
    const file = `${createHash("sha256").update(text).digest("hex")}.json`;
    writeFileSync(join(parts, file), text);
    writeFileSync(
      join(parts, "manifest.json"),
      JSON.stringify([{ Config: file, RepoTags: [name], Layers: ["layer.tar"] }]),
    );
    execFileSync("tar", ["-C", parts, "-cf", archive, "manifest.json", file, "layer.tar"]);
  } finally {
    rmSync(parts, { recursive: true });
  }
}

function compile(source: string, program: string): void {
  execFileSync("cc", ["-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o", program, join(SOURCES, source)]);
}

/** The sandbox's process; busybox and the peers (peer.c), whose program stays beside the directory. */
export function writeTestImages(directory: string): void {
  const pause = mkdtempSync(join(directory, "pause-"));
  compile("pause.c", join(pause, "pause"));
  writeImage(join(directory, "pause.tar"), {
    name: PAUSE_IMAGE,
    root: pause,
    config: { Entrypoint: ["/pause"] },
  });
  rmSync(pause, { recursive: true });

  const peer = mkdtempSync(join(directory, "peer-"));
  for (const name of ["bin", "etc", "tmp", "proc", "sys", "dev"]) mkdirSync(join(peer, name));
  copyFileSync("/bin/busybox", join(peer, "bin/busybox"));
  for (const applet of ["sh", "sleep", "ip", "cat", "ls"]) symlinkSync("busybox", join(peer, "bin", applet));
  compile("peer.c", join(peer, "bin/peer"));
  copyFileSync(join(peer, "bin/peer"), join(directory, "../peer"));
  writeImage(join(directory, "peer.tar"), {
    name: PEER_IMAGE,
    root: peer,
    config: { Entrypoint: ["/bin/peer"], Env: ["PATH=/bin"] },
  });
  rmSync(peer, { recursive: true });
}

/** The image configuration from the last stage of the Dockerfile, without its files. */
function dockerfileConfig(): ImageConfig {
  const text = readFileSync(join(ROOT, "Dockerfile"), "utf8")
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll(/\\\n/g, " ");
  const last = text.slice(text.lastIndexOf("\nFROM "));
  const all = (instruction: string): readonly string[] =>
    [...last.matchAll(new RegExp(`^${instruction} (.*)$`, "gm"))].map((match) => (match[1] ?? "").trim());
  const [entrypoint] = all("ENTRYPOINT");
  const [cmd] = all("CMD");
  const [user] = all("USER");
  if (entrypoint === undefined || cmd === undefined || user === undefined)
    throw new Error("Dockerfile: the last stage has no ENTRYPOINT, CMD or USER");
  return { Entrypoint: JSON.parse(entrypoint), Cmd: JSON.parse(cmd), User: user, Env: all("ENV") };
}

/**
 * Writes the archive of an image as a later version of Weir may be: its layout has another digest, so that its maps and programs are new
 * ones beside those of the other image. It is built from a copy of the tree.
 */
export function writeRelaidImage(archive: string, name: string): void {
  const tree = mkdtempSync(`${archive}.tree-`);
  try {
    buildRelaid(tree, [OTHER_CONSTANT]);
    writeWeirImage(archive, name, tree);
  } finally {
    rmSync(tree, { recursive: true });
  }
}

/** Writes the archive of Weir's image from a built tree, with its files copied by the Dockerfile's own step. */
export function writeWeirImage(archive: string, name: string, tree = ROOT): void {
  const root = mkdtempSync(`${archive}.root-`);
  try {
    execFileSync("bash", [join(tree, "tools/image/rootfs.sh"), root], { stdio: "pipe" });
    writeImage(archive, { name, root, config: dockerfileConfig() });
  } finally {
    rmSync(root, { recursive: true });
  }
}
