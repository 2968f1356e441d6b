// The first programs of an interface: filters at once, links afterwards, and nothing left where it is detached in between.

import { findClsact } from "bpf-ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { present } from "../../src/base/assert.ts";
import { DIRECTIONS } from "../../src/base/direction.ts";
import { type Attachments, openAttachments } from "../../src/datapath/attachments.ts";
import {
  attachClsact,
  attachedProgram,
  CLSACT_HANDLE,
  CLSACT_PRIORITY,
  HOOK_OF,
  hookOf,
} from "../../src/datapath/hooks.ts";
import { pinnedLinks } from "../../src/datapath/pins.ts";
import { type Bench, openBench } from "../../src/engines/kernel-engine.ts";
import { OBJECT } from "../support/object.ts";

let opened: Bench | undefined;
let attachments: Attachments;
const bench = (): Bench => present(opened, "the bench");
const late: unknown[] = [];
const onLate = (error: unknown): void => void late.push(error);

beforeAll(async () => {
  opened = await openBench({ object: OBJECT, bpffs: "/sys/fs/bpf" });
  attachments = openAttachments(bench().datapath);
});

afterAll(() => {
  attachments?.close();
  opened?.close();
});

const root = (): string => bench().datapath.root;
const linksOf = (ifindex: number): string[] =>
  pinnedLinks(root()).flatMap((link) => (link.ifindex === ifindex ? [link.place] : []));
const programsAt = (ifindex: number) =>
  DIRECTIONS.map((direction) => attachedProgram(root(), ifindex, direction)?.id);
const filtersOf = (ifindex: number) =>
  DIRECTIONS.map((direction) => findClsact(ifindex, HOOK_OF[direction], CLSACT_HANDLE, CLSACT_PRIORITY));
const wanted = () => DIRECTIONS.map((direction) => bench().datapath.programs[direction].info.id);

describe.runIf(hookOf() === "tcx")("an interface without programs", () => {
  it("is enforced by filters at once, and by links afterwards", async () => {
    const ifindex = bench().devices.at(0);
    expect(programsAt(ifindex)).toEqual([undefined, undefined]);
    const attached = await attachments.attachFirst(ifindex, onLate);
    expect(attached).toEqual({ ingress: "tcx", egress: "tcx" });
    expect(programsAt(ifindex)).toEqual(wanted());
    await attachments.linked();
    expect(linksOf(ifindex).sort()).toEqual([...DIRECTIONS].sort());
    expect(filtersOf(ifindex)).toEqual([undefined, undefined]);
    expect([programsAt(ifindex), await attachments.examine(), late]).toEqual([wanted(), [], []]);
  });

  it("has nothing left if it is detached before it has links", async () => {
    const ifindex = bench().devices.at(1);
    await attachments.attachFirst(ifindex, onLate);
    await attachments.detach(ifindex);
    await attachments.linked();
    expect([programsAt(ifindex), linksOf(ifindex), late]).toEqual([[undefined, undefined], [], []]);
  });

  it("is not waited for by one that follows, and may be asked for again meanwhile", async () => {
    const interfaces = [2, 3, 4, 5].map((number) => bench().devices.at(number));
    for (const ifindex of interfaces) await attachments.attachFirst(ifindex, onLate);
    await attachments.attachFirst(interfaces[3] as number, onLate);
    for (const ifindex of interfaces) expect(programsAt(ifindex)).toEqual(wanted());
    await attachments.linked();
    for (const ifindex of interfaces) expect(linksOf(ifindex)).toHaveLength(2);
    expect(late).toEqual([]);
  });

  it("that has filters already gets links at once: an earlier agent ended in between", async () => {
    const ifindex = bench().devices.at(6);
    for (const direction of DIRECTIONS) await attachClsact(bench().datapath, ifindex, direction);
    await attachments.attachFirst(ifindex, onLate);
    expect(linksOf(ifindex)).toHaveLength(2);
    expect(filtersOf(ifindex)).toEqual([undefined, undefined]);
  });
});

it("an interface that does not exist is an error", async () => {
  await expect(attachments.attachFirst(999_999, onLate)).rejects.toMatchObject({ code: "ENODEV" });
});
