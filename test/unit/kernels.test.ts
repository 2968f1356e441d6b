// The table of kernels: what is read from a virtual machine's output, and where it is written.
import { describe, expect, it } from "vitest";
import { closingOf, readRun, tableOf, withTable } from "../../tools/kernels.ts";

const LOG = `vm: Linux 6.1.0-57-amd64 (linux-image-6.1.0-57-amd64_6.1.192-3_amd64), tcg
vm: the verifier accepts all programs … ok (35 s)
    filter.bpf.o loaded in 9000 ms
    from_pod: 167869 instructions verified, 100112 bytes
    to_pod: 170701 instructions verified, 102184 bytes
    filter-ct.bpf.o loaded in 9000 ms
    from_pod: 1 instructions verified, 1 bytes
vm: suite load: 1 passed, 0 failed, 0 skipped, 35 s
vm: suite tour: 41 passed, 2 failed, 0 skipped, 135 s
vm: suite packet: 270 passed, 0 failed, 3 skipped, 200 s
vm: closing: 312 passed, 2 failed
`;

describe("the table of kernels", () => {
  const whole = readRun("linux-image-amd64/bookworm", LOG);
  const cut = readRun("linux-image-amd64/bookworm-backports", "vm: Linux 6.12.95+deb12-amd64 (x), tcg\n");
  const none = readRun("linux-image-amd64/trixie-backports", "");

  it("has a column for each kernel, whatever became of it", () => {
    expect(tableOf([whole, cut, none]).split("\n")).toEqual([
      "|  | 6.1.0-57-amd64 (bookworm) | 6.12.95+deb12-amd64 (bookworm-backports) | not booted (trixie-backports) |",
      "| --- | --- | --- | --- |",
      "| hook | clsact | tcx | – |",
      "| verified instructions, `from_pod` / `to_pod` / `from_pod_xdp` | 167,869 / 170,701 / – | – / – / – | – / – / – |",
      expect.stringMatching(/^\| all programs .* \| 1 passed \| not run \| not run \|$/),
      expect.stringMatching(/^\| README's tour .* \| 41 passed, \*\*2 failed\*\* \| not run \| not run \|$/),
      expect.stringMatching(/^\| `test\/packet`.* \| 270 passed, 3 skipped \| not run \| not run \|$/),
    ]);
  });

  it("counts a machine that did not come to its end as a failure", () => {
    expect(closingOf([whole])).toEqual({ passed: 312, failed: 2 });
    expect(closingOf([whole, cut, none])).toEqual({ passed: 312, failed: 4 });
  });

  it("is written between the markers, and only there", () => {
    const page =
      "a\n<!-- written by npm run test:kernels -- --write -->\nold\n<!-- end of what is written -->\nb\n";
    const written = withTable(page, "| new |");
    expect(written).toBe(page.replace("old", "| new |"));
    expect(withTable(written, "| new |")).toBe(written);
    expect(() => withTable("nothing", "")).toThrow("no lines");
  });
});
