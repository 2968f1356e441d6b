// Changes of links, addresses, routes and neighbours, as they happen.
import { expect, test } from "vitest";
import {
  dumpAddresses,
  dumpLinks,
  type NetEvent,
  NetWatch,
  type NetWatchOptions,
  netnsId,
} from "../lib/index.ts";
import { batch, bridge, ip, pair } from "./net-support.ts";
import { closing, openDescriptors, runChild, sleep, until } from "./support.ts";

function watch(options: NetWatchOptions = {}) {
  const events: NetEvent[] = [];
  closing(NetWatch.open((batch) => events.push(...batch), options));
  return events;
}

test("changes are reported in order", async () => {
  const events = watch();
  const { name, link, id } = await pair();
  ip(`addr add 192.0.2.1/24 dev ${name}`);
  ip(`link set ${name} up`);
  ip(`route add 198.51.100.5/32 dev ${name}`);
  ip(`neigh add 192.0.2.2 lladdr 02:00:00:00:00:77 dev ${name}`);
  ip(`link del ${name}`);
  const goes = () => events.findIndex((e) => e.kind === "link" && e.gone && e.link.ifindex === link.ifindex);
  await until(() => goes() >= 0, "the link to be gone");
  const of = (match: (event: NetEvent) => boolean) => events.findIndex(match);
  const places = [
    of((e) => e.kind === "id" && !e.gone && e.id === id),
    of((e) => e.kind === "link" && !e.gone && e.link.name === name && e.link.peerNetns === id),
    of((e) => e.kind === "address" && !e.gone && e.address.address === "192.0.2.1"),
    of((e) => e.kind === "route" && !e.gone && e.route.destination === "198.51.100.5"),
    of((e) => e.kind === "neighbour" && !e.gone && e.neighbour.address === "192.0.2.2"),
    goes(),
  ];
  expect(places).not.toContain(-1);
  expect([...places].sort((a, b) => a - b)).toEqual(places);
  expect(events.every((event) => event.kind === "overrun" || event.netns === undefined)).toBe(true);
});

test("addresses in other namespaces are reported with the namespace's id, and ids that end", async () => {
  const events = watch({ allNamespaces: true });
  const { netns, link, id } = await pair();
  ip(`-n ${netns} addr add 192.0.2.2/24 dev eth0`);
  const found = () =>
    events.find((e) => e.kind === "address" && e.address.address === "192.0.2.2" && e.netns !== undefined);
  await until(() => found() !== undefined, "the address");
  expect(found()).toMatchObject({ netns: id, gone: false, address: { ifindex: link.peer } });
  ip(`netns add ${netns}-x`);
  ip(`link add wt-nz type veth peer name eth0 netns ${netns}-x`);
  ip(`netns del ${netns}-x`);
  await until(() => events.some((e) => e.kind === "id" && e.gone && e.id !== id), "an id to end");
});

test("a port that leaves its bridge is not taken for one that is gone", async () => {
  const { name } = await pair();
  const over = bridge();
  ip(`link set ${name} master ${over}`);
  const events = watch();
  ip(`link set ${name} nomaster`);
  ip(`link set ${name} alias left`);
  const ofPort = () => events.filter((e) => e.kind === "link" && e.link.name === name);
  await until(() => ofPort().some((e) => e.kind === "link" && e.link.master === undefined), "it to leave");
  expect(ofPort().some((e) => e.kind === "link" && e.gone)).toBe(false);
});

test("a full buffer is reported as an overrun, and later changes are reported again", async () => {
  const { name } = await pair();
  ip(`link set ${name} up`);
  const events = watch({ bufferBytes: 4096 });
  const lines = Array.from(
    { length: 2_000 },
    (_, i) => `route add 10.96.${i >> 8}.${i & 255}/32 dev ${name}`,
  );
  // The event loop does not turn while this runs, so that the kernel's buffer fills.
  batch(lines);
  await until(() => events.some(({ kind }) => kind === "overrun"), "an overrun");
  ip(`route add 198.51.100.6/32 dev ${name}`);
  await until(
    () => events.some((e) => e.kind === "route" && e.route.destination === "198.51.100.6"),
    "the route after the overrun",
  );
});

test("a watch closed in its callback is silent afterwards", async () => {
  const { name } = await pair();
  let calls = 0;
  const open = NetWatch.open(() => {
    calls++;
    open.close();
    open.close();
  });
  ip(`link set ${name} up`);
  await until(() => calls === 1, "the first batch");
  ip(`link set ${name} down`);
  await sleep(50);
  expect(calls).toBe(1);
  expect(open.closed).toBe(true);
});

test("descriptors and threads do not pile up", async () => {
  const { path, id } = await pair();
  const cycle = async () => {
    NetWatch.open(() => undefined, { allNamespaces: true }).close();
    await dumpLinks({ path });
    await dumpAddresses({ id });
    netnsId(path);
  };
  await cycle();
  const before = openDescriptors();
  for (let i = 0; i < 200; i++) await cycle();
  await until(() => openDescriptors() <= before, `${before} descriptors, there are ${openDescriptors()}`);
});

test("an open watch keeps the process alive, one with unref() does not", async () => {
  const held = await runChild(`
    const watch = bpf.NetWatch.open(() => {});
    setTimeout(() => { console.log("timer"); watch.close(); }, 100).unref();
    setTimeout(() => process.exit(3), 60_000).unref();`);
  expect(held).toEqual({ status: 0, signal: null, stdout: "timer\n", stderr: "" });
  const free = await runChild(`
    bpf.NetWatch.open(() => {}).unref();
    setTimeout(() => process.exit(3), 60_000).unref();`);
  expect(free).toEqual({ status: 0, signal: null, stdout: "", stderr: "" });
});
