// `weir test -o junit`: the report as CI systems read it, and that it is XML whatever a case contains.

import fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { junitText, unreadable } from "../../../src/cli/test-report.ts";
import { type Folder, OPEN, openFolder, SHOP, WRONG } from "./test-files.ts";

let folder: Folder;
beforeAll(() => {
  folder = openFolder();
});
afterAll(() => folder.close());

it("has a suite for every case and a test for every step", async () => {
  const files = [
    folder.write("right.yaml", SHOP),
    folder.write("wrong.yaml", WRONG),
    folder.write("open.yaml", OPEN),
    folder.write("broken.yaml", SHOP.replace("ipFamily: IPv4", "ipFamily: IPv5")),
  ];
  const { exitCode, stdout } = await folder.test("-o", "junit", ...files);
  expect(exitCode).toBe(1);
  expect(flawOf(stdout)).toBeUndefined();
  const withoutNotes = stdout.replaceAll(/ {4}<system-out>[^<]*<\/system-out>\n/g, "");
  expect(withoutNotes).toBe(`<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="weir test on oracle" tests="6" failures="2" errors="1" skipped="1" time="0">
  <testsuite name="shop/web" tests="2" failures="0" errors="0" skipped="0" time="0" file="DIR/right.yaml">
    <testcase classname="shop/web" name="step 1 (for the frontend)" file="DIR/right.yaml" time="0"/>
    <testcase classname="shop/web" name="step 2 (for nobody)" file="DIR/right.yaml" time="0"/>
  </testsuite>
  <testsuite name="shop/wrong" tests="2" failures="2" errors="0" skipped="0" time="0" file="DIR/wrong.yaml">
    <testcase classname="shop/wrong" name="step 1 (for the frontend)" file="DIR/wrong.yaml" time="0">
      <failure message="1 of 17 cells not as expected">step 1 (for the frontend): TCP/8080 from shop/batch to shop/web (10.0.0.3 to 10.0.0.1)
  expected allowed, oracle says blocked
    egress of shop/batch is not isolated
    ingress of shop/web is isolated by shop/web, nothing allows TCP/8080 from shop/batch</failure>
    </testcase>
    <testcase classname="shop/wrong" name="step 2 (for nobody)" file="DIR/wrong.yaml" time="0">
      <failure message="1 of 1 cells not as expected">step 2 (for nobody): TCP/8080 from shop/frontend to shop/web (10.0.0.2 to 10.0.0.1)
  expected allowed, oracle says blocked
    egress of shop/frontend is not isolated
    ingress of shop/web is isolated by shop/web, nothing allows TCP/8080 from shop/frontend
    the case's reason: closed for the night</failure>
    </testcase>
  </testsuite>
  <testsuite name="shop/open" tests="1" failures="0" errors="0" skipped="1" time="0" file="DIR/open.yaml">
    <testcase classname="shop/open" name="step 1 (for the frontend)" file="DIR/open.yaml" time="0">
      <skipped message="no cell was compared"/>
    </testcase>
  </testsuite>
  <testsuite name="DIR/broken.yaml" tests="1" failures="0" errors="1" skipped="0" time="0" file="DIR/broken.yaml">
    <testcase classname="DIR/broken.yaml" name="DIR/broken.yaml" file="DIR/broken.yaml" time="0">
      <error message="DIR/broken.yaml:7:3: cluster.ipFamily: &quot;IPv5&quot; is not a family; expected IPv4, IPv6 or dual; the case is not run">DIR/broken.yaml:7:3: cluster.ipFamily: &quot;IPv5&quot; is not a family; expected IPv4, IPv6 or dual; the case is not run</error>
    </testcase>
  </testsuite>
</testsuites>
`);
});

describe("for any content of a case", () => {
  it("the report is XML", () => {
    fc.assert(
      fc.property(
        fc.string({ unit: "binary" }),
        fc.array(fc.string({ unit: "binary" })),
        (file, problems) => {
          expect(flawOf(junitText([unreadable(file, problems)], "plan"))).toBeUndefined();
        },
      ),
      { numRuns: 300 },
    );
  });

  it.each([
    ["<a>", "an element that is not closed: a"],
    ["<a></b>", "closes b, not a"],
    ["<a b='1'/>", "an attribute without double quotes"],
    ['<a b="<"/>', "an attribute without double quotes"],
    ["<a>&nbsp;</a>", "an entity that XML has not"],
    ["<a>&</a>", "an entity that XML has not"],
    ["<a>\u0001</a>", "a character that XML has not"],
    ["<a/><b/>", "more than one root"],
  ])("this test would detect the flaw of %j", (text, flaw) => {
    expect(flawOf(text)).toBe(flaw);
  });
});

/** Why a text is not well-formed XML, for the subset that these reports use; undefined if it is. */
function flawOf(text: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what XML cannot hold
  if (/[\u0000-\u0008\u000b\u000c\u000e-\u001f\ufffe\uffff]/.test(text) || !text.isWellFormed()) {
    return "a character that XML has not";
  }
  if (/&(?!(?:amp|lt|gt|quot|apos|#\d+);)/.test(text)) return "an entity that XML has not";
  const open: string[] = [];
  let roots = 0;
  for (const [, closing, tag = "", rest = ""] of text
    .replace(/^<\?xml [^?]*\?>\n/, "")
    .matchAll(/<(\/?)([a-z-]+)((?:[^">]|"[^"]*")*)>/g)) {
    if (closing === "/") {
      if (open.at(-1) !== tag) return `closes ${tag}, not ${open.at(-1)}`;
      open.pop();
      continue;
    }
    if (open.length === 0) roots += 1;
    if (!/^(?: [a-z]+="[^"<]*")*\/?$/.test(rest)) return "an attribute without double quotes";
    if (!rest.endsWith("/")) open.push(tag);
  }
  if (open.length > 0) return `an element that is not closed: ${open.at(-1)}`;
  return roots === 1 ? undefined : "more than one root";
}
