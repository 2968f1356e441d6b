// Teardown: everything, newest first, once, despite failures.

import { expect, it } from "vitest";
import { Teardown } from "../../../src/lab/teardown.ts";

it("undoes everything, newest first, once", () => {
  const done: string[] = [];
  const teardown = new Teardown();
  for (const what of ["first", "second", "third"]) teardown.defer(() => done.push(what));
  teardown.close();
  teardown.close();
  expect(done).toEqual(["third", "second", "first"]);
});

it("goes on after a failure, and reports each", () => {
  const done: string[] = [];
  const teardown = new Teardown();
  teardown.defer(() => done.push("first"));
  teardown.defer(() => {
    throw new Error("it is busy");
  });
  teardown.defer(() => {
    throw new Error("it is gone");
  });
  expect(() => teardown.close()).toThrow("tear down: it is gone; it is busy");
  expect(done).toEqual(["first"]);
});

it("leaves the process's signals and exit as they were", () => {
  const events = ["exit", "SIGINT", "SIGTERM", "SIGHUP"] as const;
  const counts = (): number[] => events.map((event) => process.listenerCount(event));
  const before = counts();
  const teardown = new Teardown();
  expect(counts()).toEqual(before.map((count) => count + 1));
  teardown.close();
  expect(counts()).toEqual(before);
});
