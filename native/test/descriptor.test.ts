// Peers of Unix sockets, and files that are open for writing: by this process, by another one, not at all, or not to be known.
import { spawn } from "node:child_process";
import { once } from "node:events";
import {
  chmodSync,
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  rmSync,
  writeFileSync,
  writeSync,
} from "node:fs";
import { createServer, type Socket } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { expect, onTestFinished, test } from "vitest";
import { isOpenForWriting, peerCredentials } from "../lib/index.ts";
import { expectCode, runChild, UNPRIVILEGED } from "./support.ts";

function folder(): string {
  const path = mkdtempSync(join(tmpdir(), "wt-descriptor-"));
  onTestFinished(() => rmSync(path, { recursive: true }));
  return path;
}

function opened(path: string, flags: number = constants.O_RDONLY): number {
  const fd = openSync(path, flags);
  onTestFinished(() => {
    try {
      closeSync(fd);
    } catch {
      // The test has closed it itself.
    }
  });
  return fd;
}

const written = (name = "file"): string => {
  const path = join(folder(), name);
  writeFileSync(path, "text");
  return path;
};

test("a file is open for writing for as long as any descriptor of it is", () => {
  const path = written();
  const reader = opened(path);
  expect(isOpenForWriting(reader)).toBe(false);
  for (const flags of [
    constants.O_WRONLY,
    constants.O_RDWR,
    constants.O_WRONLY | constants.O_APPEND,
    constants.O_WRONLY | constants.O_TRUNC,
  ]) {
    const writer = opened(path, flags);
    expect(isOpenForWriting(reader)).toBe(true);
    writeSync(writer, "x");
    expect(isOpenForWriting(reader)).toBe(true);
    closeSync(writer);
    expect(isOpenForWriting(reader)).toBe(false);
  }
  opened(path);
  expect(isOpenForWriting(reader)).toBe(false);
});

test("also in another process, which need not be known", async () => {
  const path = written();
  const reader = opened(path);
  const child = spawn("sh", ["-c", `exec 3>>${path}; echo open; read -r _`], {
    stdio: ["pipe", "pipe", "inherit"],
  });
  await once(child.stdout, "data");
  expect(isOpenForWriting(reader)).toBe(true);
  child.stdin.end("\n");
  await once(child, "exit");
  expect(isOpenForWriting(reader)).toBe(false);
});

test("the check leaves nothing behind, and neither blocks nor kills another process", async () => {
  const path = written();
  const reader = opened(path);
  const child = spawn("sh", ["-c", `i=0; while [ $i -lt 3000 ]; do echo $i > ${path}; i=$((i+1)); done`], {
    stdio: "inherit",
  });
  const ended = once(child, "exit");
  let asked = 0;
  while (child.exitCode === null) {
    for (let count = 0; count < 200; count += 1) isOpenForWriting(reader);
    asked += 200;
    await new Promise((resolve) => setImmediate(resolve));
  }
  await ended;
  expect(asked).toBeGreaterThan(0);
  expect(readFileSync(path, "utf8")).toBe("2999\n");
  expect(readFileSync("/proc/locks", "utf8")).not.toMatch(new RegExp(`LEASE.* ${process.pid} `));
});

test("what has no answer is undefined, what is no file is an error", async () => {
  const path = written();
  chmodSync(path, 0o644);
  chmodSync(join(path, ".."), 0o755);
  const script = `const { openSync } = await import("node:fs");
    console.log(String(bpf.isOpenForWriting(openSync(${JSON.stringify(path)}))));`;
  expect(await runChild(script, [], UNPRIVILEGED)).toMatchObject({ status: 0, stdout: "undefined\n" });
  await expectCode("ARGUMENT", () => isOpenForWriting(-1));
  await expectCode("EBADF", () => isOpenForWriting(1_000_000));
  await expectCode("ENOTSOCK", () => peerCredentials(opened(path)));
});

test("the peer of a Unix socket is the process that connected", async () => {
  const path = join(folder(), "socket");
  const server = createServer();
  server.listen(path);
  await once(server, "listening");
  onTestFinished(() => {
    server.close();
  });
  chmodSync(path, 0o777);
  chmodSync(join(path, ".."), 0o755);
  const connected = once(server, "connection");
  const program = `require("node:net").connect(${JSON.stringify(path)}).on("connect", () => console.log(process.pid)).resume()`;
  const child = spawn(
    "setpriv",
    ["--reuid=65534", "--regid=65533", "--clear-groups", process.execPath, "-e", program],
    {
      stdio: ["ignore", "pipe", "inherit"],
    },
  );
  onTestFinished(() => {
    child.kill();
  });
  const [line] = (await once(child.stdout, "data")) as [Buffer];
  const [socket] = (await connected) as [Socket];
  onTestFinished(() => {
    socket.destroy();
  });
  const { fd } = (socket as unknown as { readonly _handle: { readonly fd: number } })._handle;
  expect(peerCredentials(fd)).toEqual({ pid: Number(line.toString()), uid: 65534, gid: 65533 });
});
