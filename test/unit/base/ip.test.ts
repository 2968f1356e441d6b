// Parsing of IPv4 addresses without a library: accepts and gives what ipaddr.js does.

import fc from "fast-check";
import ipaddr from "ipaddr.js";
import { expect, it } from "vitest";
import { parseAddress } from "../../../src/base/ip.ts";

const parts = fc.array(
  fc.oneof(
    fc.integer({ min: 0, max: 300 }).map(String),
    fc.constantFrom("", "0", "00", "01", "255", "256", "1000", "-1", " 1", "1 ", "0x1", "1e1", "٣", "+1"),
  ),
  { minLength: 1, maxLength: 5 },
);

it("dotted decimal is read as ipaddr.js reads it", () => {
  fc.assert(
    fc.property(parts, fc.constantFrom(".", "..", ",", ""), (list, between) => {
      const text = list.join(between === "," || between === "" ? "." : between);
      const parsed = parseAddress(text);
      const isValid = ipaddr.IPv4.isValidFourPartDecimal(text);
      expect({ text, ok: parsed.ok }).toEqual({ text, ok: isValid });
      if (!parsed.ok) return;
      const octets = ipaddr.IPv4.parse(text).octets;
      const value = octets.reduce((sum, octet) => sum * 256n + BigInt(octet), 0n);
      expect(parsed.value).toEqual({ family: 4, value, text: octets.join(".") });
    }),
    { numRuns: 5_000 },
  );
});

it("all addresses are read as they are written", () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: 255 }), { minLength: 4, maxLength: 4 }), (octets) => {
      const text = octets.join(".");
      expect(parseAddress(text)).toMatchObject({ ok: true, value: { family: 4, text } });
    }),
  );
});
