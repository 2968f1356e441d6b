// Without privilege every operation that needs it is a BpfError that says so, and nothing crashes.
import { mkdirSync } from "node:fs";
import { expect, test } from "vitest";
import { hasTcx } from "../lib/index.ts";
import { makeVeth, pinPath, runChild, UNPRIVILEGED } from "./support.ts";

// Calls each of `rows`, prints { name: code } and where a code is not a kernel's, the error itself.
const report = `
  const codes = {};
  for (const [name, call] of Object.entries(rows)) {
    try {
      await call();
      codes[name] = "ok";
    } catch (error) {
      codes[name] = error instanceof bpf.BpfError ? error.code : String(error);
    }
  }
  console.log(JSON.stringify(codes));`;

async function codesOf(script: string, prefix: readonly string[] = []): Promise<Record<string, string>> {
  const outcome = await runChild(`${script}${report}`, [], prefix);
  expect(outcome).toMatchObject({ status: 0, signal: null, stderr: "" });
  return JSON.parse(outcome.stdout) as Record<string, string>;
}

test("a process that never had privilege", async () => {
  const codes = await codesOf(
    `const { BpfMap, BpfObject, BpfProgram, BpfLink, Btf, MapType } = bpf;
    const spec = { type: MapType.LPM_TRIE, name: "wt", keySize: 8, valueSize: 8, maxEntries: 1, flags: 1 };
    const rows = {
      open: () => BpfObject.open(samplePath),
      load: () => BpfObject.open(samplePath).load(),
      create: () => BpfMap.create(spec),
      mapById: () => BpfMap.openById(1),
      programById: () => BpfProgram.openById(1),
      linkById: () => BpfLink.openById(1),
      btfById: () => Btf.openById(1),
      parse: () => Btf.parse(samplePath),
      listMaps: () => bpf.listMaps(),
      listPrograms: () => bpf.listPrograms(),
      listLinks: () => bpf.listLinks(),
      queryTc: () => bpf.queryTc(1, "ingress"),
      hasTcx: () => bpf.hasTcx(),
      possibleCpus: () => bpf.possibleCpus(),
    };`,
    UNPRIVILEGED,
  );
  expect(codes).toEqual({
    open: "ok",
    load: "EPERM",
    create: "EPERM",
    mapById: "EPERM",
    programById: "EPERM",
    linkById: "EPERM",
    btfById: "EPERM",
    parse: "ok",
    listMaps: "EPERM",
    listPrograms: "EPERM",
    listLinks: "EPERM",
    queryTc: "EPERM",
    hasTcx: "EPERM",
    possibleCpus: "ok",
  });
});

test("a process that gave its privilege up keeps to what its handles allow", async () => {
  const { ifindex } = makeVeth();
  const folder = pinPath();
  mkdirSync(folder, { mode: 0o700 });
  const { refused, allowed } = sorted(
    await codesOf(`
    const { BpfLink, BpfMap, BpfObject, RingBuffer } = bpf;
    const object = BpfObject.open(samplePath);
    await object.load();
    const [map, outer, events] = ["counters", "outer", "events"].map((name) => object.map(name));
    const [program, xdp] = ["count", "xdp_pass"].map((name) => object.program(name));
    const inner = BpfMap.create({ type: 2, name: "wt", keySize: 4, valueSize: 8, maxEntries: 1 });
    const key = Buffer.alloc(4), value = Buffer.alloc(8), data = Buffer.alloc(64);
    const place = { ifindex: ${ifindex}, direction: "ingress" };
    const path = "${folder}/pin";
    process.setgroups([]);
    process.setgid(65534);
    process.setuid(65534);
    const rows = {
      "refused: load": () => BpfObject.open(samplePath).load(),
      "refused: create": () => BpfMap.create({ type: 11, name: "wt", keySize: 8, valueSize: 8, maxEntries: 1, flags: 1 }),
      "refused: mapById": () => BpfMap.openById(map.info.id),
      "refused: attachClsact": () => BpfLink.attach(program, { kind: "clsact", ...place, handle: 1, priority: 7 }),
      "refused: pin": () => map.pin(path),
      "refused: pinProgram": () => program.pin(path),
      "refused: openPinned": () => BpfMap.openPinned(path),
      attachTcx: () => BpfLink.attach(program, { kind: "tcx", ...place }),
      attachXdp: () => BpfLink.attach(xdp, { kind: "xdp", ...place, mode: "generic" }),
      testRun: () => program.testRun({ data }),
      testRunAsync: () => program.testRunAsync({ data }),
      lookup: () => map.lookup(key),
      update: () => map.update(key, value),
      updateAsync: () => map.updateAsync(key, value),
      updateBatch: () => map.updateBatch(key, value, 1),
      entries: () => map.entries(),
      nextKey: () => map.nextKey(),
      delete: () => map.delete(key),
      deleteAsync: () => map.deleteAsync(key),
      deleteBatch: () => map.deleteBatch(key, 1),
      setInner: () => outer.setInner(key, inner),
      setInners: () => outer.setInners(key, [inner]),
      innerId: () => outer.innerId(key),
      freeze: () => map.freeze(),
      info: () => program.info,
      ring: () => RingBuffer.open(events, () => {}).close(),
      close: () => { map.close(); program.close(); object.close(); },
    };`),
  );
  expect(Object.keys(refused)).toHaveLength(7);
  for (const [name, code] of Object.entries(refused)) expect(["EPERM", "EACCES"], name).toContain(code);
  // How much an open descriptor still allows differs from kernel to kernel; that it never crashes does not.
  expect(Object.keys(allowed)).toHaveLength(20);
  const { attachTcx, ...others } = allowed;
  for (const [name, code] of Object.entries(others)) expect(["ok", "EPERM", "EACCES"], name).toContain(code);
  expect(hasTcx() ? ["ok", "EPERM", "EACCES"] : ["EINVAL"]).toContain(attachTcx);
});

/** The codes of rows that are marked as "refused: ..." and of the others. */
function sorted(codes: Record<string, string>): Record<"refused" | "allowed", Record<string, string>> {
  const isRefused = ([name]: [string, string]) => name.startsWith("refused: ");
  const entries = Object.entries(codes);
  return {
    refused: Object.fromEntries(entries.filter(isRefused)),
    allowed: Object.fromEntries(entries.filter((entry) => !isRefused(entry))),
  };
}
