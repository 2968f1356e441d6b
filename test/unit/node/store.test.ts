// The MAC address of a pair's other end: the first one is kept for as long as the link exists, and no longer.

import type { NetLink } from "bpf-ts";
import { expect, it } from "vitest";
import { openStore, type Store } from "../../../src/node/netlink-cache.ts";
import { link, veth } from "./tables.ts";

const A = "02:00:00:00:00:0a";
const B = "02:00:00:00:00:0b";
const C = "02:00:00:00:00:0c";

/** Interface 7, whose other end has index 2 in namespace 3; the test sets the births. */
function opened() {
  let born = "b1";
  const store = openStore(() => born);
  store.load({ links: [veth(7, "v7", 3)] });
  return {
    store,
    isBorn: (birth: string) => {
      born = birth;
    },
  };
}

const far = (address: string, ifindex = 2): NetLink => link(ifindex, "eth0", { address });
const see = (store: Store, links: readonly NetLink[], known = store.tables().links): void =>
  store.takeInside(3, { addresses: [], links }, known);
const endOf = (store: Store) => {
  const { first, now } = store.tables().ends.get(7) ?? {};
  return [first, now];
};

it("the first is kept, and the present one is available", () => {
  const { store } = opened();
  expect(endOf(store)).toEqual([undefined, undefined]);
  see(store, [far(A), far(C, 3)]);
  expect(endOf(store)).toEqual([A, A]);
  see(store, [far(B)]);
  expect(endOf(store)).toEqual([A, B]);
});

it("a namespace that cannot be read, or holds no such end, changes nothing", () => {
  const { store } = opened();
  see(store, [far(A)]);
  see(store, []);
  store.takeInside(3, undefined, store.tables().links);
  expect(endOf(store)).toEqual([A, A]);
});

it("a change of it is a change of the tables, the same again is none", () => {
  const { store } = opened();
  see(store, [far(A)]);
  const before = store.tables();
  see(store, [far(A)]);
  expect(store.tables()).toBe(before);
  see(store, [far(B)]);
  expect(store.tables()).not.toBe(before);
});

it("ends with the link, whether its end is notified or missed", () => {
  const told = opened();
  see(told.store, [far(A)]);
  told.store.take({ kind: "link", gone: true, link: veth(7, "v7", 3) });
  expect(told.store.tables().ends.size).toBe(0);
  const missed = opened();
  see(missed.store, [far(A)]);
  missed.isBorn("b2");
  missed.store.load({ links: [veth(7, "v7", 3)] });
  expect(missed.store.tables().ends.size).toBe(0);
  see(missed.store, [far(B)]);
  expect(endOf(missed.store)).toEqual([B, B]);
});

it("what was read before the link was known is another namespace's of the same id", () => {
  const { store, isBorn } = opened();
  const before = store.tables().links;
  store.take({ kind: "link", gone: true, link: veth(7, "v7", 3) });
  isBorn("b2");
  store.take({ kind: "link", gone: false, link: veth(7, "v7", 3) });
  see(store, [far(A)], before);
  see(store, [far(A)], new Map());
  expect(endOf(store)).toEqual([undefined, undefined]);
  see(store, [far(B)]);
  expect(endOf(store)).toEqual([B, B]);
});
