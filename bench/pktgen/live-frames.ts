// Where there is no pktgen: packets by test runs with live frames of an XDP program that passes them on to the link's receive path.

import { execFile } from "node:child_process";
import { rmSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { BpfObject } from "bpf-ts";
import { assert } from "../../src/base/assert.ts";
import { OperationError } from "../../src/base/errors.ts";
import { parseAddress } from "../../src/base/ip.ts";
import {
  between,
  bytes,
  ETHER_TYPE,
  ethernet,
  IP_PROTOCOL,
  ipv4,
  udp,
} from "../../src/engines/frame-builder.ts";
import { withBpfObject } from "../common/compile.ts";
import type { Generated, Place, Task } from "./generator.ts";
import { POD_ADDRESS, type Sweep } from "./packets.ts";

export interface LiveFrames {
  generate(place: Place, task: Task): Promise<Generated>;
  close(): void;
}

const run = promisify(execFile);
const path = (file: string): string => fileURLToPath(new URL(file, import.meta.url));

/** `program` is the compiled live.c. @throws BpfError */
export async function openLiveFrames(program: string, bpffs: string): Promise<LiveFrames> {
  const object = withBpfObject(path("sweep.bpf.c"), (file) => BpfObject.open(file));
  const pin = `${bpffs}/weir-bench-live-${process.pid}`;
  try {
    await object.load();
    object.program("sweep_frame").pin(pin);
  } catch (thrown) {
    object.close();
    throw thrown;
  }
  return {
    async generate(place, { sweep, packets, size }) {
      using variables = object.map(".bss");
      variables.update(new Uint8Array(4), bytesOf(sweep));
      const frame = Buffer.from(frameOf(place, size)).toString("hex");
      try {
        const { stdout } = await run(program, [pin, String(place.ifindex), String(packets), frame]);
        return { sent: packets, seconds: Number(stdout) / 1e9 };
      } catch (thrown) {
        throw new OperationError(String((thrown as { stderr?: string }).stderr ?? thrown).trim(), {
          operation: "generate",
          object: `live frames on ${place.device}`,
          cause: thrown,
        });
      }
    },
    close() {
      rmSync(pin, { force: true });
      object.close();
    },
  };
}

const HEADERS_BYTES = 14 + 20 + 8;
const FCS_BYTES = 4;

function frameOf({ mac }: Place, size: number): Uint8Array {
  const end = addressOf(POD_ADDRESS);
  const payload = new Uint8Array(size - FCS_BYTES - HEADERS_BYTES);
  const packet = ipv4({ source: end, destination: end, protocol: IP_PROTOCOL.UDP }, udp(1, 1, payload));
  const destination = mac.split(":").map((part) => Number.parseInt(part, 16));
  return between(bytes(ethernet(ETHER_TYPE.IPV4, packet)), { destination });
}

function addressOf(text: string) {
  const parsed = parseAddress(text);
  assert(parsed.ok, `address ${text} of a bench`);
  return parsed.value;
}

/** As `sweep` in sweep.bpf.c. */
function bytesOf({ addresses, ports, sources }: Sweep): Uint8Array {
  const [first, last] = [addresses.first, addresses.last].map((text) => Number(addressOf(text).value)) as [
    number,
    number,
  ];
  const ranges = [{ first, last }, ports, sources];
  return new Uint8Array(
    Uint32Array.from(ranges.flatMap((range) => [range.first, range.last - range.first + 1])).buffer,
  );
}
