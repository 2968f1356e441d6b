// Finds a global variable in an object's data sections.
import type { Btf } from "./btf.ts";
import type { BtfVariable } from "./btf-decode.ts";
import { ownError, type Site } from "./error.ts";

/** The section's bytes with the variable replaced; throws ARGUMENT for an unknown name, SIZE for the wrong size. */
export function patchVariable(
  site: Site,
  btf: Btf,
  bytes: Uint8Array,
  getData: (section: string) => Buffer,
): { section: string; data: Buffer } {
  const { section, variable } = findVariable(site, btf);
  if (bytes.byteLength !== variable.size) {
    throw ownError(site, "SIZE", `the variable has ${variable.size} bytes, got ${bytes.byteLength}`);
  }
  const data = getData(section);
  data.set(bytes, variable.offset);
  return { section, data };
}

function findVariable(site: Site, btf: Btf): { section: string; variable: BtfVariable } {
  const name = site.object.slice(site.object.indexOf("/") + 1);
  for (const type of btf.types) {
    // Externs (".kconfig", ".ksyms") and maps (".maps") are no data that could be set.
    if (type.kind !== "datasec" || !/^\.(rodata|data|bss)/.test(type.name)) continue;
    const variable = type.variables?.find(({ typeId }) => btf.type(typeId)?.name === name);
    if (variable) return { section: type.name, variable };
  }
  throw ownError(site, "ARGUMENT", "no such variable in the object's data sections");
}
