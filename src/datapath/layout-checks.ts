// Checks, before an object is loaded, that it has the layout that this build's codecs were generated from.

import type { BpfObject } from "bpf-ts";
import { OperationError } from "../base/errors.ts";
import { LAYOUT_DIGEST } from "../gen/layout.ts";
import { digestOf, type Layout, layoutOf } from "./btf-layout.ts";

/** The object's layout. Throws an OperationError (code "LAYOUT") unless the object's layout is the one that src/gen/layout.ts describes. */
export function checkLayout(object: Pick<BpfObject, "btf">, path: string): Layout {
  const facts = { operation: "check the layout of", object: path, code: "LAYOUT" };
  if (object.btf === undefined)
    throw new OperationError("the object was built without BTF (clang -g)", facts);
  const layout = layoutOf(object.btf);
  const found = digestOf(layout);
  if (found === LAYOUT_DIGEST) return layout;
  throw new OperationError(
    `its digest is ${found}, but this program was built for ${LAYOUT_DIGEST}; build both anew with: npm run build`,
    facts,
  );
}
