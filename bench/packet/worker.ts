// A process that measures the rows of one revision by that revision's own code, one row at a time, as its parent requests.
//   node worker.ts ROOT        ROOT is the revision's folder, with all builds

import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { messageOf } from "../../src/base/errors.ts";
import { Teardown } from "../../src/lab/teardown.ts";
import { pin } from "../common/machine.ts";
import type { Rig } from "./measure.ts";
import { type Modules, openRig } from "./rig.ts";
import type { Row } from "./row.ts";

export type Request =
  | { readonly kind: "open"; readonly ids: readonly string[]; readonly bpffs: string; readonly cpu: number }
  | { readonly kind: "measure"; readonly id: string; readonly packets: number };

export type Answer =
  /** Those of the requested rows that the revision has. */
  | { readonly kind: "opened"; readonly ids: readonly string[] }
  | { readonly kind: "measured"; readonly ns: number }
  | { readonly kind: "progress" | "failed"; readonly text: string };

const root = process.argv[2] ?? "";
const send = (answer: Answer): void => void process.send?.(answer);
const teardown = new Teardown();
let rows: readonly Row[] = [];
let rig: Rig | undefined;
let modules: Modules | undefined;

/** Exports of one file, whatever else it exports in that revision. */
const load = (file: string): Promise<object> => import(pathToFileURL(join(root, "bench/packet", file)).href);

const FILES = ["rows.ts", "driver.ts", "stage.ts", "measure.ts"];

async function answer(request: Request): Promise<Answer> {
  switch (request.kind) {
    case "open": {
      modules = Object.assign({}, ...(await Promise.all(FILES.map(load)))) as Modules;
      rows = modules.ROWS.filter(({ id }) => request.ids.includes(id));
      const object = join(root, "bpf/build/filter.bpf.o");
      const progress = (text: string) => send({ kind: "progress", text });
      rig = await openRig(modules, { rows, object, bpffs: request.bpffs, progress }, teardown);
      pin(request.cpu);
      return { kind: "opened", ids: rows.map(({ id }) => id) };
    }
    case "measure": {
      const row = rows.find(({ id }) => id === request.id);
      if (modules === undefined || rig === undefined || row === undefined)
        throw new Error(`assertion failed: row ${request.id} is not open`);
      return { kind: "measured", ns: await modules.measure(rig, row, request.packets) };
    }
  }
}

process.on("message", (request: Request) => {
  answer(request).then(send, (thrown: unknown) => send({ kind: "failed", text: messageOf(thrown) }));
});
// The parent has ended, or needs it no more.
process.on("disconnect", () => {
  teardown.close();
  process.exit();
});
