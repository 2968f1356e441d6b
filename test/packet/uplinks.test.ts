// Frames on an uplink, one by one: the program's verdict on them, and what it counts.

import { readFileSync, writeFileSync } from "node:fs";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { Address } from "../../src/base/ip.ts";
import { writeDenied } from "../../src/datapath/denied-prefix-maps.ts";
import { bytes, ETHER_TYPE, ethernet } from "../../src/engines/frame-builder.ts";
import { SCREENED_NAMES } from "../../src/gen/layout.ts";
import { ipBatch } from "../../src/lab/iproute.ts";
import { address } from "../support/model.ts";
import { arp, EXTENSION, fragment, frame, icmpSegment, tagged, tcpSegment, udpSegment } from "./frames.ts";
import { mutator } from "./mutate.ts";
import {
  CANNOT_SPLIT_FRAMES,
  FOE4,
  FOE6,
  FOES,
  FRIENDS,
  firstPart,
  from,
  HERE4,
  HERE6,
  here,
  isFoe,
  KERNEL_SPLITS_FRAMES,
  useUplink,
} from "./uplink.ts";

const FRAMES = Math.min(20_000, Number(process.env["WEIR_FUZZ_PACKETS"] ?? 20_000));
const SEED = Number(process.env["WEIR_FUZZ_SEED"] ?? Date.now() % 2 ** 32);

const ARP = arp({ operation: 1, sender: FOE4, target: HERE4 });

const uplink = useUplink();
const screen = (wire: Uint8Array, context?: Uint8Array): string => uplink().screen(wire, context);
const countOf = (prefix: string): Promise<number> => uplink().countOf(prefix);

describe("a source", () => {
  it.each(FOES)("$text is in a denied prefix: dropped", (foe) => {
    expect(screen(from(foe))).toBe("denied");
    expect(screen(frame(foe, here(foe), tcpSegment(80, 40_000)))).toBe("denied");
  });

  it.each(FRIENDS)("$text is in none: passes", (friend) => {
    expect(screen(from(friend))).toBe("passed");
  });

  it("counts only for the longest prefix that it is in", async () => {
    const before = [await countOf("10.7.0.0/16"), await countOf("10.7.1.0/24")];
    screen(from(address("10.7.1.1")));
    screen(from(address("10.7.2.1")));
    screen(from(address("10.7.2.2")));
    expect([await countOf("10.7.0.0/16"), await countOf("10.7.1.0/24")]).toEqual([
      (before[0] ?? 0) + 2,
      (before[1] ?? 0) + 1,
    ]);
  });

  it("decides: a denied address may be a destination", () => {
    expect(screen(frame(HERE4, FOE4, udpSegment(1, 2)))).toBe("passed");
    expect(screen(frame(HERE6, FOE6, udpSegment(1, 2)))).toBe("passed");
  });

  it("does not hide behind options, fragments or extension headers", () => {
    expect(screen(frame(FOE4, HERE4, udpSegment(1, 2), { v4: { options: [1, 1, 1, 0] } }))).toBe("denied");
    for (const foe of [FOE4, FOE6]) {
      const later = { id: 7, offset: 100, more: false };
      expect(screen(fragment(foe, here(foe), udpSegment(1, 2), later))).toBe("denied");
    }
    const unknown = { number: EXTENSION.NONE, payload: [] };
    expect(screen(frame(FOE6, HERE6, unknown))).toBe("denied");
  });

  it("does not hide behind headers that contradict themselves", () => {
    expect(screen(frame(FOE4, HERE4, udpSegment(1, 2), { v4: { headerWords: 15 } }))).toBe("denied");
    expect(screen(frame(FOE4, HERE4, udpSegment(1, 2), { v4: { totalLength: 0 } }))).toBe("denied");
    expect(screen(frame(FOE6, HERE6, udpSegment(1, 2), { v6: { payloadLength: 0 } }))).toBe("denied");
    for (const version of [0, 5, 6, 15])
      expect(screen(frame(FOE4, HERE4, udpSegment(1, 2), { v4: { version } }))).toBe("malformed");
    for (const version of [0, 4, 15])
      expect(screen(frame(FOE6, HERE6, udpSegment(1, 2), { v6: { version } }))).toBe("malformed");
  });
});

describe("VLAN tags", () => {
  const TYPES = [ETHER_TYPE.VLAN, ETHER_TYPE.QINQ];
  const tags = (count: number): number[] => Array.from({ length: count }, (_, at) => TYPES[at % 2] as number);

  it.each([1, 2, 3, 8])("%i of them are skipped", (count) => {
    for (const foe of FOES) expect(screen(tagged(tags(count), from(foe)))).toBe("denied");
    for (const friend of FRIENDS) expect(screen(tagged(tags(count), from(friend)))).toBe("passed");
    expect(screen(tagged(tags(count), ARP))).toBe("neighbour");
  });

  it("more than 8 are dropped, whatever the source", () => {
    for (const each of [...FOES, ...FRIENDS]) {
      expect(screen(tagged(tags(9), from(each)))).toBe("unsupported");
      expect(screen(tagged(tags(30), from(each)))).toBe("unsupported");
    }
  });

  it("that end the frame are dropped", () => {
    const whole = tagged(tags(3), from(FOE4));
    for (let length = 14; length < 14 + 3 * 4; length += 1)
      expect(screen(whole.subarray(0, length)), `${length} bytes`).toBe("malformed");
  });
});

describe("a frame cut short", () => {
  it.each([FOE4, FOE6])("from $text never passes", (foe) => {
    for (const whole of [from(foe), tagged([ETHER_TYPE.VLAN], from(foe))]) {
      const header = (whole.length === from(foe).length ? 14 : 18) + (foe.family === 4 ? 20 : 40);
      for (let length = 14; length <= whole.length; length += 1)
        expect(screen(whole.subarray(0, length)), `${length} bytes`).toBe(
          length < header ? "malformed" : "denied",
        );
    }
  });
});

describe("protocols that a link depends on pass, whatever the source", () => {
  it("ARP", async () => {
    await writeDenied(uplink().tables, ["0.0.0.0/0", "::/0"]);
    expect(screen(ARP)).toBe("neighbour");
    expect(screen(ARP.subarray(0, 14))).toBe("neighbour");
    expect(screen(from(FRIENDS[0]))).toBe("denied");
  });

  it.each([133, 134, 135, 136, 137])("neighbour discovery of type %i", (type) => {
    const discovery = (hopLimit: number, code = 0): Uint8Array =>
      frame(FOE6, HERE6, icmpSegment(6, type, code), { v6: { hopLimit } });
    expect(screen(discovery(255))).toBe("neighbour");
    // A router has forwarded it; or it is nothing of the kind.
    expect(screen(discovery(254))).toBe("denied");
    expect(screen(discovery(255, 1))).toBe("denied");
  });

  describe("neighbour discovery to where the node's routes lead", () => {
    const DEVICE = "wt-routes";
    const FORWARDING = "/proc/sys/net/ipv6/conf/all/forwarding";
    const before = readFileSync(FORWARDING, "utf8");
    beforeAll(() => {
      ipBatch([
        `link add ${DEVICE} type veth peer name ${DEVICE}-peer`,
        `link set ${DEVICE} up`,
        `link set ${DEVICE}-peer up`,
        `addr add fd01:5::1/64 dev ${DEVICE} nodad`,
        `route add fd01:6::9/128 dev ${DEVICE}`,
        "route add blackhole fd01:7::/64",
      ]);
    });
    afterAll(() => {
      writeFileSync(FORWARDING, before);
      ipBatch([`link del ${DEVICE}`, "route del blackhole fd01:7::/64"]);
    });

    it.each([
      { to: "ff02::1", what: "a group", forwarding: 1, result: "neighbour" },
      { to: "fe80::9", what: "the link", forwarding: 1, result: "neighbour" },
      { to: "fd01:5::1", what: "the node", forwarding: 1, result: "neighbour" },
      { to: "fd01:8::9", what: "nowhere", forwarding: 1, result: "neighbour" },
      { to: "fd01:7::9", what: "a black hole", forwarding: 1, result: "neighbour" },
      { to: "fd01:5::9", what: "a pod behind a prefix", forwarding: 1, result: "denied" },
      { to: "fd01:6::9", what: "a pod behind a host route", forwarding: 1, result: "denied" },
      { to: "fd01:6::9", what: "a pod, in a VLAN tag", forwarding: 1, isTagged: true, result: "denied" },
      { to: "fd01:6::9", what: "a pod of a node that does not forward", forwarding: 0, result: "neighbour" },
      { to: "fd01:6::9", what: "the same in a VLAN tag", forwarding: 0, isTagged: true, result: "denied" },
    ])("$what ($to): $result", ({ to, forwarding, isTagged, result }) => {
      writeFileSync(FORWARDING, String(forwarding));
      const sent = (source: Address): string => {
        const wire = frame(source, address(to), icmpSegment(6, 136), { v6: { hopLimit: 255 } });
        return screen(isTagged ? tagged([0x8100], wire) : wire);
      };
      expect(sent(FOE6)).toBe(result);
      expect(sent(FRIENDS[2])).toBe(result === "denied" ? "passed" : result);
    });
  });

  it("but nothing that only resembles it", () => {
    for (const type of [1, 128, 129, 132, 138])
      expect(screen(frame(FOE6, HERE6, icmpSegment(6, type), { v6: { hopLimit: 255 } }))).toBe("denied");
    const first = { id: 7, offset: 0, more: true };
    expect(screen(fragment(FOE6, HERE6, icmpSegment(6, 135), first))).toBe("denied");
    const cut = frame(FOE6, HERE6, icmpSegment(6, 135), { v6: { hopLimit: 255 } }).subarray(0, 14 + 41);
    expect(screen(cut)).toBe("denied");
  });

  it("and other Ethernet types are not checked", () => {
    expect(screen(ethernet(0x88cc, new Uint8Array(50)))).toBe("passed");
    expect(screen(ethernet(0x0026, new Uint8Array(50)))).toBe("passed");
    expect(screen(ethernet(ETHER_TYPE.IPV4))).toBe("malformed");
  });
});

describe("frames in several parts", () => {
  it("are whole frames", () => {
    for (const each of [...FOES, ...FRIENDS]) {
      const long = bytes(from(each), new Uint8Array(6_000));
      expect(screen(long)).toBe(isFoe(each) ? "denied" : "passed");
    }
  });

  it("are read completely if a device has split them within the headers", (context) => {
    context.skip(!KERNEL_SPLITS_FRAMES, CANNOT_SPLIT_FRAMES);
    for (const each of [...FOES, ...FRIENDS]) {
      const whole = frame(each, here(each), udpSegment(40_000, 53, new Uint8Array(6_000)));
      for (const long of [whole, tagged([ETHER_TYPE.QINQ, ETHER_TYPE.VLAN], whole)]) {
        for (const linear of [14, 15, 18, 22, 34, 35, 54, 55])
          expect(screen(long, firstPart(linear)), `${linear} bytes`).toBe(isFoe(each) ? "denied" : "passed");
      }
    }
    expect(screen(bytes(ARP, new Uint8Array(6_000)), firstPart(14))).toBe("neighbour");
  });
});

/** The expected verdict on a frame, by a parser that shares nothing with the program. */
function expected(wire: Uint8Array): string {
  const text = Buffer.from(wire).toString("hex");
  const [, tags = "", type = "", rest = ""] = /^.{24}((?:(?:8100|88a8).{4})*)(.{4})(.*)$/.exec(text) ?? [];
  // A ninth tag is one too many, also if nothing is behind it.
  if (tags.length > 8 * 8 || (tags.length === 8 * 8 && /^(8100|88a8)$/.test(type))) return "unsupported";
  // Tags that end the frame: the type of what is behind the last one is missing.
  if (type === "" || type === "8100" || type === "88a8") return "malformed";
  if (type === "0806") return "neighbour";
  if (type !== "0800" && type !== "86dd") return "passed";
  const v6 = type === "86dd";
  if (rest.length < (v6 ? 80 : 40) || rest[0] !== (v6 ? "6" : "4")) return "malformed";
  if (v6 && /^.{12}3aff.{64}8[5-9]00/.test(rest)) return "neighbour";
  const source = v6 ? rest.slice(16, 48) : rest.slice(24, 32);
  const denied = v6 ? /^fd07000000000000/ : /^(0a07|c0000209)/;
  return denied.test(source) ? "denied" : "passed";
}

describe("frames mutated at random", () => {
  it(`have the verdict of an independent parser: seed ${SEED} (WEIR_FUZZ_SEED)`, () => {
    const bases = [
      ...[...FOES, ...FRIENDS].map(from),
      tagged([ETHER_TYPE.VLAN, ETHER_TYPE.QINQ], from(FOE4)),
      tagged(new Array(8).fill(ETHER_TYPE.VLAN), from(FOE6)),
      ARP,
      frame(FOE6, HERE6, icmpSegment(6, 135), { v6: { hopLimit: 255 } }),
    ].map((each) => ({ direction: "ingress" as const, frame: each }));
    const mutate = mutator(SEED, bases);
    const seen = new Map<string, number>();
    for (let count = 0; count < FRAMES; ) {
      const { frame: wire } = mutate();
      if (wire.length < 14) continue;
      count += 1;
      const wanted = expected(wire);
      const got = screen(wire);
      if (got !== wanted)
        expect.fail(`${Buffer.from(wire).toString("hex")}: ${got}, not ${wanted} (seed ${SEED})`);
      seen.set(got, (seen.get(got) ?? 0) + 1);
    }
    for (const each of Object.values(SCREENED_NAMES)) expect(seen.get(each), each).toBeGreaterThan(0);
  });
});
