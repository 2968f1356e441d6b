// Writes what follows from the schema of the configuration: the table of docs/configuration.md.
//
//   node tools/config.ts

import { readFileSync, writeFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { withTable } from "./config/table.ts";

const path = fileURLToPath(new URL("../docs/configuration.md", import.meta.url));
writeFileSync(path, withTable(readFileSync(path, "utf8")));
