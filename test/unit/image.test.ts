// The Dockerfile: what tools/image-check.sh relies on, and rules that keep the image small, without a shell, and built from what is pinned.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { ROOT } from "./cli/world.ts";

const read = (path: string): string => readFileSync(join(ROOT, path), "utf8");

/** The instructions, with continued lines joined, in stages. */
function stagesOf(text: string): readonly (readonly string[])[] {
  const lines = text
    .replaceAll(/^#.*\n/gm, "")
    .replaceAll(/\\\n\s*/g, "")
    .split("\n")
    .filter((line) => line !== "");
  const stages: string[][] = [];
  for (const line of lines) {
    if (line.startsWith("FROM ")) stages.push([]);
    stages.at(-1)?.push(line);
  }
  return stages;
}

const stages = stagesOf(read("Dockerfile"));
const instructions = stages.flat();
const of = (word: string): string[] => instructions.filter((line) => line.startsWith(`${word} `));

describe("the Dockerfile", () => {
  it("has only instructions that the check of the image can run", () => {
    const known = ["FROM", "RUN", "WORKDIR", "COPY", "LABEL", "USER", "ENV", "ENTRYPOINT", "CMD"];
    expect(instructions.filter((line) => !known.includes(line.split(" ")[0] ?? ""))).toEqual([]);
    for (const line of of("COPY")) expect(line).toMatch(/^COPY (?:\. \.|--from=build \/\S+ \/)$/);
    expect(of("FROM")).toEqual(["FROM debian:12 AS build", "FROM scratch"]);
  });

  it("ends in a stage that runs nothing and starts without a shell", () => {
    const words = stages.at(-1)?.map((line) => line.split(" ")[0]);
    expect([...new Set(words)]).toEqual(["FROM", "LABEL", "COPY", "USER", "ENV", "ENTRYPOINT", "CMD"]);
    for (const line of [...of("ENTRYPOINT"), ...of("CMD")])
      expect(line).toMatch(/^\w+ \["[^"]+"(?:, "[^"]+")*\]$/);
  });

  it("gives Node.js the options that bin/weir does", () => {
    const [, options = ""] = /node" (--[^"]*) "\$root/.exec(read("bin/weir")) ?? [];
    const given = [read("tools/image/weir").split("\n")[0], ...of("ENV")].join(" ");
    expect(options.split(" ").length).toBeGreaterThan(1);
    for (const option of options.split(" ")) expect(given).toContain(option);
    // All that the check of the image can pass to a process: one variable a line, without quotes.
    for (const line of of("ENV")) expect(line).toMatch(/^ENV \w+=[\w=-]+$/);
  });

  it("installs nothing that is only recommended", () => {
    for (const line of of("RUN").filter((each) => each.includes("apt-get install")))
      expect(line).toContain("apt-get update && apt-get install -y --no-install-recommends ");
  });

  it("names existing steps of set-up", () => {
    const steps =
      /tools\/setup\.sh (?<steps>[a-z ]+)/.exec(of("RUN").join("\n"))?.groups?.["steps"]?.split(" ") ?? [];
    expect(steps.length).toBeGreaterThan(4);
    for (const step of steps) expect(read("tools/setup.sh")).toContain(`\nstep_${step}() {`);
  });

  it("leaves build output and git out of the build", () => {
    const ignored = read(".dockerignore").trim().split("\n");
    expect(ignored).toEqual(
      expect.arrayContaining([".git", "**/node_modules", "**/build", "**/dist", "src/gen"]),
    );
    // All that the check of the image can pass to tar.
    for (const pattern of ignored) expect(pattern).toMatch(/^(?:\*\*\/)?[\w./*]+$/);
  });
});

describe("the command in the image", () => {
  it("is started by the Node.js in it, by a line that the kernel understands", () => {
    const [line] = read("tools/image/weir").split("\n");
    // Linux passes everything after the program as one argument.
    expect(line).toMatch(/^#!\/opt\/weir\/node_modules\/node\/bin\/node --enable-source-maps$/);
    expect(line?.length).toBeLessThan(128);
  });
});
