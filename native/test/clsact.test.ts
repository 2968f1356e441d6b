// Filters of the clsact qdisc, for kernels without tcx.
import { expect, test } from "vitest";
import { BpfLink, type ClsactSpec, findClsact, removeEmptyClsact } from "../lib/index.ts";
import { closing, expectCode, loadSample, makeVeth, pinPath, run, u32, type Veth } from "./support.ts";

const place = (veth: Veth, direction: "ingress" | "egress" = "ingress"): ClsactSpec => ({
  kind: "clsact",
  ifindex: veth.ifindex,
  direction,
  handle: 0x77,
  priority: 49_000,
});
const find = ({ ifindex, direction, handle, priority }: ClsactSpec) =>
  findClsact(ifindex, direction, handle, priority);
const qdiscsOf = (veth: Veth) => run("tc", "qdisc", "show", "dev", veth.name);

/** A filter of another kind, at the same priority. */
const addOther = (veth: Veth, direction: string) =>
  run(
    "tc",
    ..."filter add dev".split(" "),
    veth.name,
    direction,
    ..."pref 49000 u32 match u32 0 0 flowid 1:1".split(" "),
  );

test.for(["ingress", "egress"] as const)("a filter judges %s, is replaced and deleted", async (direction) => {
  const object = await loadSample((opened) => opened.setVariable("verdict", u32(0)));
  const veth = makeVeth();
  const spec = place(veth, direction);
  const [drop, count] = [object.program("drop"), object.program("count")];
  expect(find(spec)).toBeUndefined();
  const link = closing(await BpfLink.attach(drop, { ...spec, removeQdisc: true }));
  expect(link.info).toEqual({
    id: 0,
    kind: "clsact",
    programId: drop.info.id,
    ifindex: veth.ifindex,
    direction,
  });
  expect(find(spec)).toEqual({ programId: drop.info.id });
  expect(find({ ...spec, handle: 0x78 })).toBeUndefined();
  expect(find({ ...spec, priority: 48_999 })).toBeUndefined();
  expect(find(place(veth, direction === "ingress" ? "egress" : "ingress"))).toBeUndefined();
  expect(run("tc", "filter", "show", "dev", veth.name, direction)).toMatch(
    /pref 49000 bpf .*handle 0x77 .*direct-action/,
  );
  expect(veth.ping()).toBe(false);

  await link.update(count);
  expect(link.info.programId).toBe(count.info.id);
  expect(veth.ping()).toBe(true);
  await link.update(drop);
  expect(veth.ping()).toBe(false);
  await link.detach();
  expect(veth.ping()).toBe(true);
  expect(link.info.programId).toBe(0);
  expect(qdiscsOf(veth)).not.toContain("clsact");
  await expectCode("ENOENT", () => link.detach());
});

test("a filter outlives its link and can be taken up again", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  const spec = place(veth);
  (await BpfLink.attach(object.program("drop"), spec)).close();
  expect(veth.ping()).toBe(false);
  const again = closing(BpfLink.openClsact(spec));
  expect(again.info.programId).toBe(object.program("drop").info.id);
  await again.detach();
  expect(qdiscsOf(veth)).toContain("clsact"); // removing it was not asked for
  await expectCode("ENOENT", () => BpfLink.openClsact(spec));
});

test("a place that is taken is not taken over", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  const spec = place(veth);
  const first = closing(await BpfLink.attach(object.program("drop"), spec));
  const error = await expectCode("EEXIST", () => BpfLink.attach(object.program("pass"), spec));
  expect(error).toMatchObject({ operation: "link.attach", object: `clsact on ifindex ${veth.ifindex}` });
  expect(first.info.programId).toBe(object.program("drop").info.id);
});

test("the qdisc stays while others have filters on it, in either direction", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  const spec = { ...place(veth), removeQdisc: true };
  const mine = closing(await BpfLink.attach(object.program("pass"), spec));
  addOther(veth, "egress");
  await mine.detach();
  expect(qdiscsOf(veth)).toContain("clsact");
  expect(run("tc", "filter", "show", "dev", veth.name, "egress")).toContain("u32");
});

test("a qdisc is removed by itself only once it is empty", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  expect(await removeEmptyClsact(veth.ifindex)).toBe(false);
  const mine = closing(await BpfLink.attach(object.program("pass"), place(veth)));
  expect(await removeEmptyClsact(veth.ifindex)).toBe(false);
  await mine.detach();
  expect(qdiscsOf(veth)).toContain("clsact");
  expect(await removeEmptyClsact(veth.ifindex)).toBe(true);
  expect(qdiscsOf(veth)).not.toContain("clsact");
  veth.remove();
  expect(await removeEmptyClsact(veth.ifindex)).toBe(false);
  await expectCode("ARGUMENT", () => removeEmptyClsact(0));
});

test("a filter of another kind at the same place is left unchanged", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  run("tc", "qdisc", "add", "dev", veth.name, "clsact");
  addOther(veth, "ingress");
  expect(find(place(veth))).toBeUndefined();
  await expectCode("EINVAL", () => BpfLink.attach(object.program("pass"), place(veth)));
});

test("a qdisc made for a filter that is refused goes again", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  await expectCode("EINVAL", () => BpfLink.attach(object.program("xdp_pass"), place(veth)));
  expect(qdiscsOf(veth)).not.toContain("clsact");
});

test("a removed device is an error", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  const link = closing(await BpfLink.attach(object.program("pass"), place(veth)));
  veth.remove();
  expect(link.info).toMatchObject({ programId: 0, ifindex: 0 });
  expect(find(place(veth))).toBeUndefined();
  await expectCode("ENODEV", () => BpfLink.attach(object.program("pass"), place(veth)));
  await expectCode("ENODEV", () => link.update(object.program("pass")));
  await expectCode("ENODEV", () => link.detach());
});

test("bad places and pins are refused", async () => {
  const object = await loadSample();
  const veth = makeVeth();
  const program = object.program("pass");
  const spec = place(veth);
  for (const bad of [
    { handle: 0 },
    { handle: 2 ** 32 },
    { priority: 0 },
    { priority: 65_536 },
    { ifindex: -1 },
  ]) {
    await expectCode("ARGUMENT", () => BpfLink.attach(program, { ...spec, ...bad }));
  }
  await expectCode("ARGUMENT", () => findClsact(veth.ifindex, "up" as "ingress", 1, 1));
  const link = closing(await BpfLink.attach(program, spec));
  await expectCode("UNSUPPORTED", () => link.pin(pinPath()));
  await expectCode("UNSUPPORTED", () => link.unpin(pinPath()));
});
