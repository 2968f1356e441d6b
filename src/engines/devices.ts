// Interfaces for programs under test: veth pairs that carry no traffic.

import { ipBatch, ipJson } from "../lab/iproute.ts";

export interface Devices {
  /** The interface index of the device with this number, created at first use. */
  at(number: number): number;
  /** Its name. */
  nameAt(number: number): string;
  close(): void;
}

/** `prefix` names the devices and must be this process's own; at most 9 characters. */
export function openDevices(prefix: string): Devices {
  let made: number[] = [];
  const name = (index: number) => `${prefix}-${index}`;
  const grow = () => {
    const first = made.length;
    const pairs = Array.from({ length: 8 }, (_, index) => first + index * 2);
    ipBatch(pairs.map((index) => `link add ${name(index)} type veth peer name ${name(index + 1)}`));
    const byName = new Map(
      ipJson(["link", "show", "type", "veth"]).map((link) => [
        String(link["ifname"]),
        Number(link["ifindex"]),
      ]),
    );
    made = Array.from({ length: first + 16 }, (_, index) => byName.get(name(index)) ?? 0);
  };
  return {
    at(number) {
      while (made.length <= number) grow();
      return made[number] as number;
    },
    nameAt(number) {
      this.at(number);
      return name(number);
    },
    close() {
      const pairs = made.flatMap((_, index) => (index % 2 === 0 ? [`link del ${name(index)}`] : []));
      made = [];
      ipBatch(pairs);
    },
  };
}
