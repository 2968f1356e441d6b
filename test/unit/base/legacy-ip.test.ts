// Addresses and CIDRs compared with the results of Kubernetes' own parsers.
//
// test/fixtures/legacy-ip.json has [text, address, CIDR] as ParseIP and ParseCIDR of k8s.io/utils (internal/third_party/forked/
// golang/net, git 99ec85e) gave them, null where they refuse: texts by hand, and random ones out of what breaks parsers.
// IPv4-mapped results are written as the IPv4 that IP.To4 and IPNet.Contains take them for.
import { readFileSync } from "node:fs";
import { describe, expect, it } from "vitest";
import { parseAddress, parseCidr } from "../../../src/base/ip.ts";
import { parseLegacyAddress, parseLegacyCidr } from "../../../src/base/legacy-ip.ts";

const ROWS = JSON.parse(readFileSync("test/fixtures/legacy-ip.json", "utf8")) as [
  string,
  string | null,
  string | null,
][];

describe("what Kubernetes' parsers read", () => {
  it("is read as they read it, and what they refuse is refused", () => {
    expect(ROWS.length).toBeGreaterThan(200);
    for (const [text, address, cidr] of ROWS) {
      const [asAddress, asCidr] = [parseLegacyAddress(text), parseLegacyCidr(text)];
      expect([text, asAddress.ok ? asAddress.value.value.text : null]).toEqual([text, address]);
      expect([text, asCidr.ok ? asCidr.value.value.text : null]).toEqual([text, cidr]);
    }
  });

  it("includes all that the strict parsers read, with the same meaning", () => {
    for (const [text] of ROWS) {
      const [strictAddress, strictCidr] = [parseAddress(text), parseCidr(text)];
      if (strictAddress.ok)
        expect(parseLegacyAddress(text)).toEqual({
          ok: true,
          value: { value: strictAddress.value, legacy: false },
        });
      if (strictCidr.ok)
        expect(parseLegacyCidr(text)).toEqual({
          ok: true,
          value: { value: strictCidr.value, legacy: false },
        });
    }
  });

  it.each([
    ["010.0.0.0/8", true],
    ["10.0.0.0/08", true],
    ["10.0.0.00/8", true],
    ["::ffff:10.0.0.0/104", true],
    ["::ffff:a00:0/104", true],
    ["00001::/16", true],
    ["::010.2.3.4/128", true],
    ["::1.2.3.4/128", false],
    ["0001::/16", false],
    ["10.0.0.1/8", false],
    ["2001:DB8::/32", false],
  ])("%s: legacy %s", (text, legacy) => {
    expect(parseLegacyCidr(text)).toMatchObject({ ok: true, value: { legacy } });
  });
});
