// Conversions between Weir's values and the maps' structs, both ways, with the bytes that go on the wire.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  addressBits,
  addressOf,
  type Cidr,
  cidrOf,
  type Family,
  parseAddress,
  parseCidr,
} from "../../../src/base/ip.ts";
import {
  addressesOfEndpoint,
  addressOfV4Key,
  addressOfV6Key,
  addressV4KeyOf,
  addressV6KeyOf,
  cidrOfV4Key,
  cidrOfV6Key,
  cidrV4KeyOf,
  cidrV6KeyOf,
  classesOfRow,
  countsByFamily,
  endpointAddressesOf,
  interfaceOf,
  ROW_CLASSES,
  rowOf,
  sumCounters,
} from "../../../src/datapath/codec.ts";
import {
  addressV4KeyCodec,
  addressV6KeyCodec,
  type Codec,
  type Counters,
  cidrV4KeyCodec,
  cidrV6KeyCodec,
  rowCodec,
} from "../../../src/gen/layout.ts";

const anyAddress = (family: Family) =>
  fc.bigInt(0n, (1n << BigInt(addressBits(family))) - 1n).map((value) => addressOf(family, value));

const anyCidr = (family: Family): fc.Arbitrary<Cidr> =>
  fc
    .tuple(anyAddress(family), fc.integer({ min: 0, max: addressBits(family) }))
    .map(([{ value }, length]) => cidrOf(family, value, length));

function address(text: string) {
  const parsed = parseAddress(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

function cidr(text: string) {
  const parsed = parseCidr(text);
  if (!parsed.ok) throw new Error(parsed.reason);
  return parsed.value;
}

function bytesOf<T>(codec: Codec<T>, value: T): string {
  const bytes = Buffer.alloc(codec.size);
  codec.encode(value, new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength), 0);
  return bytes.toString("hex");
}

describe("addresses", () => {
  it("are in the keys as on the wire", () => {
    expect(bytesOf(addressV4KeyCodec, addressV4KeyOf(address("10.63.48.255")))).toBe("0a3f30ff");
    expect(bytesOf(addressV4KeyCodec, addressV4KeyOf(address("255.255.255.254")))).toBe("fffffffe");
    expect(bytesOf(addressV6KeyCodec, addressV6KeyOf(address("fd00:1:2:3:4:5:6:789a")))).toBe(
      "fd00000100020003000400050006789a",
    );
  });

  it("come back as they were", () => {
    fc.assert(
      fc.property(anyAddress(4), (each) => {
        expect(addressOfV4Key(addressV4KeyOf(each))).toEqual(each);
      }),
    );
    fc.assert(
      fc.property(anyAddress(6), (each) => {
        expect(addressOfV6Key(addressV6KeyOf(each))).toEqual(each);
      }),
    );
  });

  it("of the wrong family are refused", () => {
    expect(() => addressV4KeyOf(address("::1"))).toThrow("::1 is not an IPv4 address");
    expect(() => addressV6KeyOf(address("10.0.0.1"))).toThrow("10.0.0.1 is not an IPv6 address");
  });
});

describe("prefixes", () => {
  it("are in the keys as the trie requires: the length in host order, then the address as on the wire", () => {
    expect(bytesOf(cidrV4KeyCodec, cidrV4KeyOf(cidr("10.63.48.0/22")))).toBe("160000000a3f3000");
    expect(bytesOf(cidrV6KeyCodec, cidrV6KeyOf(cidr("fd00:1:2:3::/64")))).toBe(
      "40000000fd000001000200030000000000000000",
    );
  });

  it("come back as they were", () => {
    fc.assert(
      fc.property(anyCidr(4), (each) => {
        expect(cidrOfV4Key(cidrV4KeyOf(each))).toEqual(each);
      }),
    );
    fc.assert(
      fc.property(anyCidr(6), (each) => {
        expect(cidrOfV6Key(cidrV6KeyOf(each))).toEqual(each);
      }),
    );
  });

  it("of the wrong family are refused", () => {
    expect(() => cidrV4KeyOf(cidr("::/0"))).toThrow("::/0 is not an IPv4 prefix");
    expect(() => cidrV6KeyOf(cidr("0.0.0.0/0"))).toThrow("0.0.0.0/0 is not an IPv6 prefix");
  });
});

describe("an endpoint's own addresses", () => {
  it("come back, IPv4 first", () => {
    const some = (family: Family) => fc.array(anyAddress(family), { maxLength: 4 });
    fc.assert(
      fc.property(some(4), some(6), (v4, v6) => {
        const fields = endpointAddressesOf([...v6, ...v4]);
        expect([fields.addressesV4Used, fields.addressesV6Used]).toEqual([v4.length, v6.length]);
        expect(addressesOfEndpoint(fields)).toEqual([...v4, ...v6]);
      }),
    );
  });

  it("are at most four of a family", () => {
    const five = Array.from({ length: 5 }, (_, i) => addressOf(4, BigInt(i + 1)));
    expect(() => endpointAddressesOf(five)).toThrow("at most 4 addresses");
  });
});

describe("rows", () => {
  it("hold class n in bit n, counted through the words", () => {
    const bytes = bytesOf(rowCodec, rowOf([0, 9, 64, ROW_CLASSES - 1]));
    expect(bytes).toBe(`0102${"00".repeat(6)}01${"00".repeat(502)}80`);
  });

  it("come back sorted, each class once", () => {
    const classes = fc.array(fc.integer({ min: 0, max: ROW_CLASSES - 1 }));
    fc.assert(
      fc.property(classes, (each) => {
        expect(classesOfRow(rowOf(each))).toEqual([...new Set(each)].sort((a, b) => a - b));
      }),
    );
  });

  it.each([-1, ROW_CLASSES, 1.5])("have no class %s", (each) => {
    expect(() => rowOf([each])).toThrow(`class ${each} is not one of 4096`);
  });
});

describe("the rest", () => {
  it("takes a flow's interface apart", () => {
    expect(interfaceOf((0xffffff * 256 + 17) >>> 0)).toEqual({ ifindex: 0xffffff, protocol: 17 });
  });

  it("sums the counters of all CPUs, cell by cell", () => {
    const cpu = (seed: bigint): Counters => {
      const cells = (direction: bigint) =>
        Array.from({ length: 16 }, (_, i) => ({
          packets: seed * (BigInt(i) + direction),
          bytes: seed << 60n,
        }));
      const [v4, v6] = [
        [cells(0n), cells(100n)],
        [cells(1000n), cells(0n)],
      ] as const;
      return { count: [v4, v6] };
    };
    const [v4, v6] = countsByFamily([cpu(1n), cpu(2n)]);
    expect([v4[1][2]?.packets, v6[0][2]?.packets]).toEqual([3n * 102n, 3n * 1002n]);
    const sum = sumCounters([cpu(1n), cpu(2n), cpu(4n)]);
    expect(sum.count[0][3]).toEqual({ packets: 7n * 1006n, bytes: 14n << 60n });
    expect(sum.count[1][15]).toEqual({ packets: 7n * 130n, bytes: 14n << 60n });
    expect(sum.count.map((cells) => cells.length)).toEqual([16, 16]);
  });
});
