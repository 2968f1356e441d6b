// `weir lint`: for each code a manifest with the finding and a near miss, the exact text, formats and exit codes.
import { mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Readable } from "node:stream";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { WARNING_CODES } from "../../../../src/model/problem.ts";
import { FILE_BYTES_MAX } from "../../../../src/source/manifests/manifest-files.ts";
import { ROOT, runIn } from "../world.ts";

const FIXTURES = "test/fixtures/lint";

const lint = (...args: readonly string[]) => runIn(["lint", ...args]);
const lintText = (text: string, ...args: readonly string[]) =>
  runIn(["lint", "-f", "-", ...args], { stdin: () => Readable.from([Buffer.from(text)]) });

const policy = (spec: string, name = "web") =>
  `apiVersion: networking.k8s.io/v1\nkind: NetworkPolicy\nmetadata: { name: ${name}, namespace: shop }\nspec: ${spec}\n`;
const CLEAN = policy("{ podSelector: {} }");
const WARNED = policy("{ podSelector: {}, policyTypes: [Ingress], ingress: [{}] }");
const WRONG = policy("{ podSelector: { app: web } }");

describe("each code", () => {
  it("has a manifest with the finding, its text, and a near miss", () => {
    const files = readdirSync(FIXTURES).filter((name) => name.includes("."));
    const wanted = WARNING_CODES.flatMap((code) => [
      `${code}.bad.txt`,
      `${code}.bad.yaml`,
      `${code}.good.yaml`,
    ]);
    expect(files.toSorted()).toEqual(wanted.toSorted());
  });

  it.each(WARNING_CODES)("%s is reported where it is due, and nothing else", async (code) => {
    const { exitCode, stdout, stderr } = await lint("-f", `${FIXTURES}/${code}.bad.yaml`);
    const text = stdout.replaceAll(`${FIXTURES}/`, "");
    expect(text).toBe(readFileSync(`${FIXTURES}/${code}.bad.txt`, "utf8"));
    expect(text.match(/\[[a-z-]+\]$/gm)?.every((each) => each === `[${code}]`)).toBe(true);
    expect({ exitCode, stderr }).toEqual({ exitCode: 0, stderr: "" });
  });

  it.each(WARNING_CODES)("%s is not reported for a near miss", async (code) => {
    const { exitCode, stdout } = await lint("-f", `${FIXTURES}/${code}.good.yaml`, "--strict");
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "0 errors, 0 warnings in 1 files\n" });
  });

  it.each(WARNING_CODES.filter((code) => code !== "ignore-unknown"))(
    "%s is silenced by a comment",
    async (code) => {
      const text = readFileSync(`${FIXTURES}/${code}.bad.yaml`, "utf8");
      // In every document, since a fixture's other documents are not policies.
      const silenced = text.replaceAll(/^apiVersion:/gm, `# weir.dev/lint-ignore: ${code}\n$&`);
      expect((await lintText(silenced)).stdout).toBe("0 errors, 0 warnings in 1 files\n");
    },
  );
});

describe("whole sets", () => {
  it("reports only true findings on the seed policies", async () => {
    const { stdout } = await lint("-f", "test/fixtures/seeds", "-f", `${FIXTURES}/seeds`);
    const expected = readFileSync(`${FIXTURES}/seeds/expected.txt`, "utf8");
    expect(stdout.replaceAll("test/fixtures/", "")).toBe(expected);
  });

  const malformed = readdirSync("test/fixtures/malformed").filter((name) => name.endsWith(".yaml"));
  it.each(malformed)("reports the parser's problems with %s", async (name) => {
    const file = `test/fixtures/malformed/${name}`;
    const { exitCode, stdout } = await lint("-f", file);
    const lines = readFileSync(file.replace(/yaml$/, "txt"), "utf8").split("\n");
    const expected = lines
      .filter((line) => line.startsWith("error: "))
      .map((line) => line.replace("first at ", "first at test/fixtures/malformed/"))
      .map((line) => line.replace(/^error: ([^ ]+): /, "test/fixtures/malformed/$1: error: "));
    expect(stdout.split("\n").filter((line) => / error: /.test(line))).toEqual(expected);
    expect(exitCode).toBe(expected.length > 0 ? 1 : 0);
  });

  it("suggests the fix for labels without matchLabels", async () => {
    const { exitCode, stdout } = await lintText(WRONG);
    expect(exitCode).toBe(1);
    expect(stdout).toContain(
      "<stdin>:4:24: error: NetworkPolicy shop/web: spec.podSelector.app: unknown field",
    );
    expect(stdout).toContain("write matchLabels: { app: web }");
  });
});

describe("exit codes", () => {
  const both = `${WARNED}---\n${WRONG.replace("name: web", "name: db")}`;
  it.each([
    { what: "no finding", text: CLEAN, plain: 0, strict: 0, summary: "0 errors, 0 warnings" },
    { what: "a warning", text: WARNED, plain: 0, strict: 1, summary: "0 errors, 1 warnings" },
    { what: "an error", text: WRONG, plain: 1, strict: 1, summary: "1 errors, 0 warnings" },
    { what: "an error and a warning", text: both, plain: 1, strict: 1, summary: "1 errors, 1 warnings" },
    { what: "no YAML", text: "a: [", plain: 1, strict: 1, summary: "1 errors, 0 warnings" },
  ])("$plain, and $strict with --strict: $what", async ({ text, plain, strict, summary }) => {
    const [a, b] = [await lintText(text), await lintText(text, "--strict")];
    expect([a.exitCode, b.exitCode]).toEqual([plain, strict]);
    expect(a.stdout.endsWith(`${summary} in 1 files\n`)).toBe(true);
    expect(b.stdout).toBe(a.stdout);
  });

  it("2 for wrong usage", async () => {
    const wrong = [[], ["-f"], ["-f", "x", "-o", "xml"], ["-f", "x", "y"]];
    const codes = await Promise.all(wrong.map(async (args) => (await lint(...args)).exitCode));
    expect(codes).toEqual([2, 2, 2, 2]);
  });

  it("0 if there is no policy, with a notice", async () => {
    const { exitCode, stdout, stderr } = await lintText("{ apiVersion: v1, kind: Secret }");
    expect({ exitCode, stdout }).toEqual({ exitCode: 0, stdout: "0 errors, 0 warnings in 1 files\n" });
    expect(stderr).toBe("weir: no NetworkPolicy found\n");
  });
});

describe("input", () => {
  let directory: string;
  beforeAll(() => {
    directory = mkdtempSync(join(tmpdir(), "wt-lint-"));
    writeFileSync(join(directory, "a.yaml"), CLEAN);
    writeFileSync(join(directory, "b.json"), JSON.stringify({ apiVersion: "v1", kind: "List", items: [] }));
    writeFileSync(join(directory, "c.txt"), "[");
  });
  afterAll(() => rmSync(directory, { recursive: true, force: true }));

  it("each file of a directory once, however often it is named", async () => {
    const { stdout } = await lint(
      "-f",
      directory,
      "-f",
      join(directory, "a.yaml"),
      "-f",
      `${directory}/./a.yaml`,
    );
    expect(stdout).toBe("0 errors, 0 warnings in 2 files\n");
  });

  it.each([
    ["is an error where they differ", WARNED, 1, "error"],
    ["is a warning where they do not", CLEAN, 0, "warning"],
  ])("a policy that is in two files %s", async (_, text, code, severity) => {
    const other = join(directory, "z", "..", "a.yaml");
    expect((await lint("-f", other, "-f", "-")).stderr).toBe("");
    const { exitCode, stdout } = await runIn(["lint", "-f", directory, "-f", "-"], {
      stdin: () => Readable.from([Buffer.from(text.slice(0, 40)), Buffer.from(text.slice(40))]),
    });
    expect(exitCode).toBe(code);
    expect(stdout).toContain(
      `<stdin>:1:1: ${severity}: NetworkPolicy shop/web: is declared more than once, first at ${directory}/a.yaml:1:1`,
    );
  });

  it.each([
    ["no such file", () => join(directory, "none.yaml"), "cannot be read: ENOENT: no such file or directory"],
    ["a device", () => "/dev/zero", "is not a regular file"],
  ])("%s is an error", async (_, path, reason) => {
    const { exitCode, stdout } = await lint("-f", path());
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`: error: ${reason}`);
    expect(stdout).toMatch(/1 errors, 0 warnings in \d files\n$/);
  });

  it("no more of the standard input than of a file", async () => {
    const chunk = Buffer.alloc(FILE_BYTES_MAX / 4, "#");
    const { exitCode, stdout } = await runIn(["lint", "-f", "-"], {
      stdin: () => Readable.from([chunk, chunk, chunk, chunk, chunk]),
    });
    expect(exitCode).toBe(1);
    expect(stdout).toContain(`<stdin>: error: is larger than ${FILE_BYTES_MAX} bytes`);
  });

  it("nothing of a manifest controls the terminal", async () => {
    const { stdout } = await lintText(policy('{ podSelector: {}, ingress: [{ "\\e[2J": 1 }] }'));
    expect(stdout).toContain("\\u{1b}[2J");
    expect(stdout).not.toContain("\u001b");
  });
});

describe("-o json", () => {
  it("has the same as data, with places and fixes", async () => {
    const text = `${WARNED}---\n${WRONG.replace("name: web", "name: db")}`;
    const { exitCode, stdout } = await lintText(text, "-o", "json");
    expect(exitCode).toBe(1);
    expect(JSON.parse(stdout)).toEqual({
      files: 1,
      policies: 2,
      errors: [
        {
          file: "<stdin>",
          line: 9,
          column: 24,
          object: "NetworkPolicy shop/db",
          path: "spec.podSelector.app",
          reason: "unknown field; expected matchLabels or matchExpressions",
          fix: "labels belong under matchLabels: write matchLabels: { app: web }",
          effect: "every pod of namespace shop is isolated (ingress) and nothing is allowed by it",
        },
      ],
      warnings: [
        {
          code: "opens-all",
          file: "<stdin>",
          line: 4,
          column: 60,
          object: "NetworkPolicy shop/web",
          path: "spec.ingress[0]",
          reason: "allows traffic from everyone on every port, so the policy restricts no ingress",
          fix: "name the peers (from) or the ports that are meant",
        },
      ],
    });
  });

  it.each(WARNING_CODES)("has a code, a place, a reason and a fix for %s", async (code) => {
    const { stdout } = await lint("-f", join(ROOT, FIXTURES, `${code}.bad.yaml`), "-o", "json");
    const { warnings } = JSON.parse(stdout);
    expect(warnings.length).toBeGreaterThan(0);
    for (const each of warnings) {
      expect(each).toMatchObject({
        code,
        file: expect.stringContaining(code),
        line: expect.any(Number),
        column: expect.any(Number),
        reason: expect.stringMatching(/./),
        fix: expect.stringMatching(/./),
      });
    }
  });
});
