// tcx and XDP links on real devices.
import { beforeEach, describe, expect, test } from "vitest";
import { BpfLink, BpfMap, type BpfObject, hasTcx, listLinks, queryTc } from "../lib/index.ts";
import { closing, expectCode, failure, loadSample, makeVeth, pinPath, u32 } from "./support.ts";

const letAll = (object: BpfObject) => object.setVariable("verdict", u32(0xffffffff));

async function attach(...args: Parameters<typeof BpfLink.attach>): Promise<BpfLink> {
  return closing(await BpfLink.attach(...args));
}

test("this kernel has tcx if it is new enough for it", async () => {
  const [major = 0, minor = 0] = (await import("node:os")).release().split(".").map(Number);
  expect(hasTcx()).toBe(major > 6 || (major === 6 && minor >= 6));
});

test.for(["native", "generic"] as const)(
  "an XDP program (%s) judges, is replaced and detached",
  async (mode) => {
    const object = await loadSample();
    const veth = makeVeth();
    const link = await attach(object.program("xdp_drop"), { kind: "xdp", ifindex: veth.ifindex, mode });
    expect(link.info).toMatchObject({ kind: "xdp", ifindex: veth.ifindex, direction: "ingress" });
    expect(veth.ping()).toBe(false);
    await expectCode("EBUSY", () =>
      attach(object.program("xdp_pass"), { kind: "xdp", ifindex: veth.ifindex, mode }),
    );
    await link.update(object.program("xdp_pass"));
    expect(link.info.programId).toBe(object.program("xdp_pass").info.id);
    expect(veth.ping()).toBe(true);
    await link.update(object.program("xdp_drop"));
    expect(veth.ping()).toBe(false);
    await link.detach();
    expect(veth.ping()).toBe(true);
  },
);

describe("a tcx link", () => {
  // The test above sees to it that a new kernel has them.
  beforeEach((context) => context.skip(!hasTcx(), "this kernel has no tcx links (Linux 6.6 is the first)"));

  test.for(["ingress", "egress"] as const)(
    "a tcx program judges %s, is replaced and detached",
    async (direction) => {
      const object = await loadSample(letAll);
      const veth = makeVeth();
      expect(veth.ping()).toBe(true);
      const drop = object.program("drop");
      const link = await attach(drop, { kind: "tcx", ifindex: veth.ifindex, direction });
      expect(link.info).toEqual({
        id: link.info.id,
        kind: "tcx",
        programId: drop.info.id,
        ifindex: veth.ifindex,
        direction,
      });
      expect(listLinks()).toContain(link.info.id);
      expect(queryTc(veth.ifindex, direction)).toMatchObject({
        programIds: [drop.info.id],
        linkIds: [link.info.id],
      });
      expect(veth.ping()).toBe(false);

      const count = object.program("count");
      await link.update(count);
      expect(link.info.programId).toBe(count.info.id);
      expect(veth.ping()).toBe(true);
      expect((await object.map("counters").entries()).count).toBeGreaterThan(0);

      await link.update(drop);
      expect(veth.ping()).toBe(false);
      await link.detach();
      expect(veth.ping()).toBe(true);
      expect(link.info.ifindex).toBe(0);
      expect(queryTc(veth.ifindex, direction).programIds).toEqual([]);
    },
  );

  test("closing a link detaches it, unless it is pinned", async () => {
    const object = await loadSample();
    const veth = makeVeth();
    const spec = { kind: "tcx", ifindex: veth.ifindex, direction: "egress" } as const;
    const fleeting = await attach(object.program("drop"), spec);
    fleeting.close();
    expect(queryTc(veth.ifindex, "egress").programIds).toEqual([]);

    const path = pinPath();
    const link = await attach(object.program("drop"), spec);
    link.pin(path);
    link.close();
    expect(veth.ping()).toBe(false);
    const again = closing(BpfLink.openPinned(path));
    const byId = closing(BpfLink.openById(again.info.id));
    expect(byId.info).toEqual(again.info);
    await expectCode("ARGUMENT", () => BpfMap.openPinned(path));
    const other = await attach(object.program("pass"), spec);
    await expectCode("ARGUMENT", () => other.unpin(path));
    again.unpin(path);
    await again.detach();
    expect(queryTc(veth.ifindex, "egress").programIds).toEqual([object.program("pass").info.id]);
    await expectCode("ENOENT", () => BpfLink.openPinned(path));
  });

  test("programs are in the requested order", async () => {
    const object = await loadSample();
    const { ifindex } = makeVeth();
    const spec = { kind: "tcx", ifindex, direction: "ingress" } as const;
    await attach(object.program("pass"), spec);
    await attach(object.program("count"), { ...spec, position: "first" });
    await attach(object.program("drop"), { ...spec, position: "last" });
    const order = ["count", "pass", "drop"].map((name) => object.program(name).info.id);
    expect(queryTc(ifindex, "ingress").programIds).toEqual(order);
    await expectCode("EEXIST", () => attach(object.program("drop"), spec));
  });

  test("a link shows that its device was removed", async () => {
    const object = await loadSample();
    const veth = makeVeth();
    const tcx = await attach(object.program("drop"), {
      kind: "tcx",
      ifindex: veth.ifindex,
      direction: "ingress",
    });
    const xdp = await attach(object.program("xdp_drop"), {
      kind: "xdp",
      ifindex: veth.ifindex,
      mode: "native",
    });
    veth.remove();
    expect([tcx.info.ifindex, xdp.info.ifindex]).toEqual([0, 0]);
    await expectCode("ENOLINK", () => tcx.update(object.program("pass")));
    await expectCode("ENODEV", () => queryTc(veth.ifindex, "ingress"));
  });

  test("failing to attach is an error", async () => {
    const object = await loadSample();
    const { ifindex } = makeVeth();
    const drop = object.program("drop");
    const spec = { kind: "tcx", ifindex, direction: "ingress" } as const;
    const error = await failure(() => attach(drop, { ...spec, ifindex: 0x7ffffff }));
    expect(error).toMatchObject({
      code: "ENODEV",
      operation: "link.attach",
      object: "tcx on ifindex 134217727",
    });
    await expectCode("EINVAL", () => attach(object.program("xdp_drop"), spec));
    await expectCode("EINVAL", () => attach(drop, { kind: "xdp", ifindex, mode: "native" }));
    const refuse = (bad: object, program: unknown = drop) =>
      expectCode("ARGUMENT", () =>
        BpfLink.attach(program as typeof drop, { ...spec, ...bad } as typeof spec),
      );
    await refuse({ ifindex: 0 });
    await refuse({ ifindex: 1.5 });
    await refuse({ direction: "sideways" });
    await refuse({ kind: "none" });
    await refuse({ position: "middle" });
    await refuse({ kind: "xdp", mode: "fast" });
    await refuse({}, {});
    await expectCode("ARGUMENT", () => queryTc(0, "ingress"));
    await expectCode("ARGUMENT", () => queryTc(ifindex, "" as "ingress"));
    await expectCode("ENOENT", () => BpfLink.openById(0x7fffffff));
  });

  test("no packet slips through while programs are replaced", async () => {
    const object = await loadSample();
    const veth = makeVeth();
    const link = await attach(object.program("drop"), {
      kind: "tcx",
      ifindex: veth.ifindex,
      direction: "ingress",
    });
    const { promisify } = await import("node:util");
    const { execFile } = await import("node:child_process");
    const flood = promisify(execFile)("ping", [
      "-6",
      "-n",
      "-q",
      "-c",
      "400",
      "-i",
      "0.002",
      "-W",
      "1",
      `fe80::2%${veth.name}`,
    ]);
    const ended = flood.then(
      () => "answered",
      (error: { stdout: string }) => error.stdout,
    );
    let replaced = 0;
    let running = true;
    void ended.then(() => {
      running = false;
    });
    const twin = (await loadSample()).program("drop");
    while (running) {
      await link.update(replaced++ % 2 ? twin : object.program("drop"));
    }
    expect(replaced).toBeGreaterThan(50);
    expect(await ended).toMatch(/ 0 received, 100% packet loss/);
  });
});
