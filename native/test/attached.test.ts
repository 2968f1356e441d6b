// What is attached to many devices, asked at once; and devices made to try it on.
import { expect, test } from "vitest";
import {
  attachedPrograms,
  BpfLink,
  type BpfProgram,
  dumpLinks,
  type Hook,
  hasTcx,
  makeVeth as makePair,
  removeLink,
} from "../lib/index.ts";
import { closing, expectCode, loadSample, makeVeth, run } from "./support.ts";

const NOWHERE = 0x7ffffff0;

test("programs are found where they are attached, in the order in which packets meet them", async () => {
  const object = await loadSample();
  const [count, drop, xdp] = (["count", "drop", "xdp_pass"] as const).map((name) => object.program(name)) as [
    BpfProgram,
    BpfProgram,
    BpfProgram,
  ];
  const { ifindex, name } = makeVeth();
  const tcx = { kind: "tcx", ifindex, direction: "egress" } as const;
  const clsact = { kind: "clsact", ifindex, direction: "ingress" } as const;
  const ids = async (place: Hook) => (await attachedPrograms([place]))[0];
  const at = { kind: "xdp", ifindex } as const;
  for (const place of [clsact, { ...clsact, direction: "egress" } as const, at])
    expect(await ids(place)).toEqual([]);
  expect(await ids({ kind: "xdp", ifindex: NOWHERE })).toBeUndefined();

  if (hasTcx()) {
    closing(await BpfLink.attach(count, tcx));
    closing(await BpfLink.attach(drop, { ...tcx, position: "first" }));
    expect(await ids(tcx)).toEqual([drop.info.id, count.info.id]);
  }
  closing(await BpfLink.attach(count, { ...clsact, handle: 7, priority: 2 }));
  const other = "pref 1 u32 match u32 0 0 flowid 1:1".split(" ");
  run("tc", ..."filter add dev".split(" "), name, "ingress", ...other);
  // u32 lists its hash table beside the filter.
  expect([...new Set(await ids(clsact))]).toEqual([0, count.info.id]);
  const link = closing(await BpfLink.attach(xdp, { ...at, mode: "generic" }));
  expect(await attachedPrograms([at, { ...clsact, direction: "egress" }])).toEqual([[xdp.info.id], []]);
  await link.detach();
  expect(await ids(at)).toEqual([]);
});

test("a place of another kind is refused", async () => {
  await expectCode("ARGUMENT", () => attachedPrograms([{ kind: "xdp", ifindex: 0 }]));
  await expectCode("ARGUMENT", () =>
    attachedPrograms([{ kind: "tcx", ifindex: 1, direction: "sideways" as "ingress" }]),
  );
});

test("a pair of veth devices is made and removed", async () => {
  const [name, peer] = ["wt-made", "wt-made-peer"];
  const names = async () =>
    (await dumpLinks()).map((link) => link.name).filter((each) => each === name || each === peer);
  makePair(name, peer);
  expect((await names()).sort()).toEqual([name, peer]);
  await expectCode("EEXIST", () => makePair(name, peer));
  removeLink(peer);
  expect(await names()).toEqual([]);
  await expectCode("ENODEV", () => removeLink(name));
  await expectCode("ARGUMENT", () => makePair("a/b", peer));
  await expectCode("ARGUMENT", () => removeLink("sixteen-letters-"));
});
