// rtnetlink's tables, here and in other namespaces.
import { expect, onTestFinished, test } from "vitest";
import {
  dumpAddresses,
  dumpForwarding,
  dumpLinks,
  dumpNeighbours,
  dumpRoutes,
  LinkFlag,
  LinkType,
  NetWatch,
  netnsCookie,
  netnsId,
  RouteTable,
  RouteType,
} from "../lib/index.ts";
import { batch, bridge, freshName, ip, pair } from "./net-support.ts";
import { expectCode, run, runChild } from "./support.ts";

test("links say what they are", async () => {
  const { name, link } = await pair();
  const over = bridge();
  ip("link set", name, "master", over, "up");
  const links = await dumpLinks();
  const found = links.find((each) => each.name === name);
  const master = links.find((each) => each.name === over);
  expect(found).toMatchObject({ ifindex: link.ifindex, kind: "veth", type: LinkType.ETHER });
  expect(found?.address).toMatch(/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/);
  expect(found?.master).toBe(master?.ifindex);
  expect(master?.kind).toBe("bridge");
  expect((found?.flags ?? 0) & LinkFlag.UP).toBe(LinkFlag.UP);
  const loopback = links.find((each) => each.type === LinkType.LOOPBACK);
  expect(loopback).toMatchObject({ ifindex: 1, name: "lo" });
  expect(loopback).not.toHaveProperty("kind");
});

test("both ends of a veth in this namespace have no id", async () => {
  const [one, other] = [freshName(), freshName()];
  ip("link add", one, "type veth peer name", other);
  onTestFinished(() => void ip("link del", one));
  const links = await dumpLinks();
  const at = (name: string) => links.find((each) => each.name === name);
  expect(at(one)?.peer).toBe(at(other)?.ifindex);
  expect(at(one)).not.toHaveProperty("peerNetns");
});

test("another namespace is read by its path and by its id, and they agree", async () => {
  const { netns, path, link, id } = await pair();
  ip(`-n ${netns} addr add 192.0.2.2/24 dev eth0`);
  ip(`-n ${netns} addr add 2001:db8::2/64 dev eth0 nodad`);
  ip(`-n ${netns} link set eth0 up`);
  expect(netnsId(path)).toBe(id);
  const inside = await dumpLinks({ path });
  expect(inside.map(({ name }) => name).sort()).toEqual(["eth0", "lo"]);
  expect(inside.find(({ name }) => name === "eth0")?.ifindex).toBe(link.peer);
  const byPath = await dumpAddresses({ path });
  expect(await dumpAddresses({ id })).toEqual(byPath);
  expect(byPath).toContainEqual(
    expect.objectContaining({ family: 4, address: "192.0.2.2", length: 24, ifindex: link.peer }),
  );
  expect(byPath).toContainEqual(
    expect.objectContaining({ family: 6, address: "2001:db8::2", length: 64, ifindex: link.peer }),
  );
  expect((await dumpRoutes({ path })).map(({ destination }) => destination)).toContain("192.0.2.0");
  // The event loop's own thread never left its namespace.
  expect((await dumpLinks()).map(({ name }) => name)).toContain(link.name);
});

test("the address of a point-to-point link is its own", async () => {
  const { name, link } = await pair();
  ip(`addr add 192.0.2.1 peer 192.0.2.9/32 dev ${name}`);
  const found = (await dumpAddresses()).find(({ ifindex }) => ifindex === link.ifindex);
  expect(found).toMatchObject({ address: "192.0.2.1" });
});

test("routes of all tables, with their ways", async () => {
  const { name, link } = await pair();
  ip(`addr add 192.0.2.1/24 dev ${name}`);
  ip(`link set ${name} up`);
  ip(`route add 198.51.100.5/32 dev ${name}`);
  ip(`route add 198.51.100.0/24 via 192.0.2.7 table 4321 metric 9`);
  ip(`route add 203.0.113.0/24 nexthop via 192.0.2.8 dev ${name} nexthop via inet6 fe80::9 dev ${name}`);
  ip(`route add unreachable 2001:db8:7::/48`);
  onTestFinished(() => {
    ip("route flush table 4321");
    ip("-6 route del unreachable 2001:db8:7::/48");
  });
  const routes = await dumpRoutes();
  const to = (destination: string) => routes.find((route) => route.destination === destination);
  const { ifindex } = link;
  expect(to("198.51.100.5")).toMatchObject({
    family: 4,
    length: 32,
    table: RouteTable.MAIN,
    type: RouteType.UNICAST,
    hops: [{ ifindex }],
  });
  expect(to("198.51.100.0")).toMatchObject({
    length: 24,
    table: 4321,
    priority: 9,
    hops: [{ ifindex, gateway: "192.0.2.7" }],
  });
  expect(to("203.0.113.0")?.hops).toEqual([
    { ifindex, gateway: "192.0.2.8" },
    { ifindex, gateway: "fe80::9" },
  ]);
  expect(to("2001:db8:7::")).toMatchObject({ family: 6, length: 48, type: RouteType.UNREACHABLE });
  expect(to("192.0.2.1")).toMatchObject({ table: RouteTable.LOCAL, type: RouteType.LOCAL });
});

test("neighbours, and a bridge's forwarding entries", async () => {
  const { name, link } = await pair();
  const over = bridge();
  ip(`link set ${name} master ${over} up`);
  ip(`neigh add 192.0.2.2 lladdr 02:00:00:00:00:77 dev ${over}`);
  run("bridge", ..."fdb add 02:00:00:00:00:77 dev".split(" "), name, "master", "static");
  const master = (await dumpLinks()).find((each) => each.name === over)?.ifindex;
  expect(await dumpNeighbours()).toContainEqual(
    expect.objectContaining({
      family: 4,
      address: "192.0.2.2",
      hardware: "02:00:00:00:00:77",
      ifindex: master,
    }),
  );
  expect(await dumpForwarding()).toContainEqual(
    expect.objectContaining({
      family: "bridge",
      hardware: "02:00:00:00:00:77",
      ifindex: link.ifindex,
      master,
    }),
  );
});

test("a dump of many parts is whole", async () => {
  const { name, link } = await pair();
  ip(`link set ${name} up`);
  const count = 5_000;
  const lines = Array.from(
    { length: count },
    (_, i) => `route add 10.99.${i >> 8}.${i & 255}/32 dev ${name}`,
  );
  batch(lines);
  const through = (await dumpRoutes()).filter(
    ({ family, length, hops }) => family === 4 && length === 32 && hops[0]?.ifindex === link.ifindex,
  );
  expect(new Set(through.map(({ destination }) => destination)).size).toBe(count);
});

test("a change during a dump repeats it: none is torn", async () => {
  const { name, netns } = await pair();
  for (let i = 1; i <= 200; i++) ip(`-n ${netns} addr add 10.97.0.${i}/32 dev eth0`);
  const { id } = (await dumpLinks()).flatMap((each) =>
    each.name === name && each.peerNetns !== undefined ? [{ id: each.peerNetns }] : [],
  )[0] ?? { id: -1 };
  const busy = runChild(`
    const { execFileSync } = await import("node:child_process");
    for (let i = 0; i < 40; i++) {
      execFileSync("ip", ["-n", "${netns}", "addr", "add", "10.98.0.1/32", "dev", "eth0"]);
      execFileSync("ip", ["-n", "${netns}", "addr", "del", "10.98.0.1/32", "dev", "eth0"]);
    }`);
  let dumps = 0;
  let ended = false;
  void busy.finally(() => {
    ended = true;
  });
  while (!ended) {
    const lasting = (await dumpAddresses({ id })).filter(({ address }) => address.startsWith("10.97."));
    expect(new Set(lasting.map(({ address }) => address)).size).toBe(200);
    dumps++;
  }
  expect((await busy).status).toBe(0);
  expect(dumps).toBeGreaterThan(5);
});

test("invalid requests are errors", async () => {
  await expectCode("EINVAL", () => dumpLinks({ id: 0x7fff_fff0 }));
  await expectCode("ENOENT", () => dumpLinks({ path: "/run/netns/wt-net-none" }));
  await expectCode("EINVAL", () => dumpLinks({ path: "/etc/passwd" }));
  await expectCode("EINVAL", () => netnsId("/etc/passwd"));
  await expectCode("ARGUMENT", () => dumpLinks({ path: "" }));
  await expectCode("ARGUMENT", () => dumpLinks({ id: -1 }));
  await expectCode("UNSUPPORTED", () => dumpRoutes({ id: 0 }));
  await expectCode("ARGUMENT", () => NetWatch.open(undefined as unknown as () => void));
  await expectCode("ARGUMENT", () => NetWatch.open(() => undefined, { bufferBytes: 0 }));
});

test("each network namespace has a number of its own", async () => {
  const cookieIn = async (prefix: readonly string[]): Promise<bigint> => {
    const outcome = await runChild("console.log(String(bpf.netnsCookie()));", [], prefix);
    expect(outcome).toMatchObject({ status: 0, stderr: "" });
    return BigInt(outcome.stdout);
  };
  expect(await cookieIn([])).toBe(netnsCookie());
  expect(await cookieIn(["unshare", "--net"])).not.toBe(netnsCookie());
});
