// Which server is used and with which credentials: certificates, tokens that are replaced, programs that sign in, and invalid files.

import { execFileSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, onTestFinished, test, vi } from "vitest";
import { openCredentials } from "../../../../src/source/apiserver/credentials.ts";
import { type Fault, refuse } from "./server.ts";
import { openWorld, pod, type World } from "./world.ts";

let directory: string;
const at = (name: string): string => join(directory, name);

/** A self-signed certificate for 127.0.0.1, with its key beside it, which is its own authority. */
function makeCertificate(name: string): void {
  const subject = ["-subj", `/CN=${name}`, "-addext", "subjectAltName=IP:127.0.0.1"];
  const files = ["-keyout", at(`${name}.key`), "-out", at(`${name}.crt`)];
  const options = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"];
  execFileSync("openssl", ["req", ...options, ...subject, ...files], { stdio: "pipe" });
}

/** Signs a certificate again, for a day in the past. `openssl req` has no option for dates before version 3.4; `ca` does. */
function expire(name: string): void {
  const config = `[ca]\ndefault_ca=a\n[a]\ndatabase=${at("index")}\nnew_certs_dir=${directory}\nserial=${at("serial")}
default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nsubjectAltName=IP:127.0.0.1\n`;
  writeFileSync(at("ca.cnf"), config);
  writeFileSync(at("index"), "");
  writeFileSync(at("serial"), "01");
  const run = (...args: readonly string[]) => execFileSync("openssl", args, { stdio: "pipe" });
  run("req", "-new", "-key", at(`${name}.key`), "-subj", `/CN=${name}`, "-out", at("request"));
  const dates = ["-startdate", "20200101000000Z", "-enddate", "20200102000000Z"];
  const files = ["-keyfile", at(`${name}.key`), "-in", at("request"), "-out", at(`${name}.crt`)];
  run("ca", "-batch", "-selfsign", "-notext", "-config", at("ca.cnf"), ...dates, ...files);
}

beforeAll(() => {
  directory = mkdtempSync(join(tmpdir(), "weir-access-"));
  makeCertificate("right");
  makeCertificate("wrong");
});
afterAll(() => rmSync(directory, { recursive: true }));

const tlsOf = (name: string) => ({
  key: readFileSync(at(`${name}.key`), "utf8"),
  cert: readFileSync(at(`${name}.crt`), "utf8"),
});

const trouble = (world: World): string => world.last()?.problems[0]?.reason ?? "";

describe("certificates", () => {
  test("of an authority that is not trusted block every request, until the right one is there", async () => {
    writeFileSync(at("ca.crt"), readFileSync(at("wrong.crt")));
    const cluster = { "certificate-authority": at("ca.crt") };
    const world = await openWorld({ tls: tlsOf("right"), cluster });
    await vi.waitFor(() => expect(trouble(world)).toMatch(/certificate/), 20_000);
    expect(world.server.asked).toEqual([]);
    expect(world.last()?.readable).toBe(false);
    // The kubeconfig stays as it is: the file that it names is another one.
    writeFileSync(at("ca.crt"), readFileSync(at("right.crt")));
    await world.converged("another certificate authority");
  });

  test("that have expired are not accepted", async () => {
    makeCertificate("expired");
    expire("expired");
    const authority = Buffer.from(readFileSync(at("expired.crt"))).toString("base64");
    const world = await openWorld({
      tls: tlsOf("expired"),
      cluster: { "certificate-authority-data": authority },
    });
    await vi.waitFor(() => expect(trouble(world)).toMatch(/expired/), 20_000);
    expect(world.server.asked).toEqual([]);
    const data = Buffer.from(readFileSync(at("right.crt"))).toString("base64");
    await world.server.close();
    await world.start({ tls: tlsOf("right") });
    world.writeKubeconfig({ "certificate-authority-data": data });
    await world.converged("a server with a new certificate");
  });

  test("for another name are not accepted", async () => {
    const cluster = { "certificate-authority": at("right.crt"), "tls-server-name": "elsewhere.example" };
    const world = await openWorld({ tls: tlsOf("right"), cluster });
    await vi.waitFor(() => expect(trouble(world)).toMatch(/altnames/), 20_000);
    expect(world.server.asked).toEqual([]);
  });
});

test("a proxy that the kubeconfig names is used", async () => {
  const through: string[] = [];
  const proxy = createServer();
  proxy.on("connect", (request, client) => {
    through.push(request.url ?? "");
    const [host = "", port = ""] = (request.url ?? "").split(":");
    const server = connect(Number(port), host, () => {
      client.write("HTTP/1.1 200 Connection established\r\n\r\n");
      server.pipe(client).pipe(server);
    });
    for (const [one, other] of [[server, client] as const, [client, server] as const]) {
      one.on("error", () => one.destroy());
      one.on("close", () => other.destroy());
    }
  });
  await new Promise<void>((resolve) => proxy.listen(0, "127.0.0.1", resolve));
  onTestFinished(() => void proxy.close());
  const { port } = proxy.address() as AddressInfo;
  const cluster = { "certificate-authority": at("right.crt"), "proxy-url": `http://127.0.0.1:${port}` };
  const world = await openWorld({ tls: tlsOf("right"), cluster });
  await world.converged("a proxy");
  world.server.put("Pod", pod("late", "10.0.0.50"));
  await world.converged("an event through a proxy");
  expect(new Set(through)).toEqual(new Set([`127.0.0.1:${world.server.port}`]));
});

/** Accepts one token only, on lists and watches alike. */
const accepts =
  (token: () => string): Fault =>
  ({ headers }, response) =>
    headers.authorization === `Bearer ${token()}` ? false : refuse(response, 401, "Unauthorized");

describe("tokens", () => {
  test("of a file are read for every request, so that a new one counts at once", async () => {
    writeFileSync(at("token"), "first\n");
    const world = await openWorld({ user: { tokenFile: at("token") }, down: true });
    let valid = "first";
    await world.start();
    world.server.script(accepts(() => valid));
    await world.converged("a token of a file");
    valid = "second";
    world.objects.put("Pod", pod("late", "10.0.0.50"));
    world.server.end("Pod", "breaks");
    await vi.waitFor(() => expect(world.kind("Pod").failure?.reason).toMatch(/401/), 20_000);
    writeFileSync(at("token"), "second\n");
    await world.converged("a token that was replaced");
  });

  test("of the kubeconfig count when that is rewritten", async () => {
    const world = await openWorld({ user: { token: "old" }, down: true });
    await world.start();
    world.server.script(accepts(() => "new"));
    await vi.waitFor(() => expect(trouble(world)).toMatch(/401: Unauthorized/), 20_000);
    world.writeKubeconfig(undefined, { token: "new" });
    await world.converged("a kubeconfig that was replaced");
  });

  test("of a program are requested again when the server rejects them", async () => {
    writeFileSync(at("answer"), "old");
    const script = `printf '{"kind":"ExecCredential","status":{"token":"%s"}}' "$(cat ${at("answer")})"`;
    const exec = { apiVersion: "client.authentication.k8s.io/v1", command: "sh", args: ["-c", script] };
    const world = await openWorld({ user: { exec }, down: true });
    await world.start();
    world.server.script(accepts(() => "new"));
    await vi.waitFor(() => expect(trouble(world)).toMatch(/401: Unauthorized/), 20_000);
    writeFileSync(at("answer"), "new");
    await world.converged("a program with another answer");
  });

  test("that are unavailable are a problem like any other", async () => {
    const world = await openWorld({ user: { tokenFile: at("none") } });
    await vi.waitFor(() => expect(trouble(world)).toMatch(/ENOENT.*none/), 20_000);
    writeFileSync(at("none"), "there");
    await world.converged("a file that was missing");
  });
});

describe("a kubeconfig", () => {
  const write = (text: string): string => {
    const path = at("kubeconfig");
    writeFileSync(path, text);
    return path;
  };
  const config = (fields: object): string =>
    JSON.stringify({
      "current-context": "a",
      clusters: [{ name: "c", cluster: { server: "https://127.0.0.1:1" } }],
      users: [{ name: "u", user: {} }],
      contexts: [{ name: "a", context: { cluster: "c", user: "u" } }],
      ...fields,
    });

  test.each([
    ["that is not YAML", "a: [", /^read .*kubeconfig: /],
    ["without a context in force", config({ "current-context": "" }), /current-context is missing/],
    ["without that context", config({ contexts: [] }), /has no context a; expected one of none/],
    [
      "whose context names no cluster",
      config({ clusters: [] }),
      /contexts\[a\]\.cluster: there is no cluster c/,
    ],
    ["whose context names no user", config({ users: [] }), /contexts\[a\]\.user: there is no user u/],
    [
      "whose server is no URL",
      config({ clusters: [{ name: "c", cluster: { server: "10.0.0.1" } }] }),
      /clusters\[c\]\.cluster\.server: 10\.0\.0\.1 is not an HTTP URL/,
    ],
  ])("%s is an error", (_, text, message) => {
    expect(() => openCredentials({ from: "kubeconfig", path: write(text) })).toThrow(message);
  });

  test("may have a context named", () => {
    const contexts = [{ name: "b", context: { cluster: "c", user: "u" } }];
    const path = write(config({ contexts }));
    expect(openCredentials({ from: "kubeconfig", path, context: "b" }).text).toBe(
      `https://127.0.0.1:1 (${path})`,
    );
    expect(() => openCredentials({ from: "kubeconfig", path, context: "x" })).toThrow(
      /has no context x; expected one of b/,
    );
  });
});

test("in a cluster the files of the service account count, each time", async () => {
  const files = join(directory, "root/var/run/secrets/kubernetes.io/serviceaccount");
  mkdirSync(files, { recursive: true });
  writeFileSync(join(files, "ca.crt"), readFileSync(at("right.crt")));
  writeFileSync(join(files, "token"), "first");
  vi.stubEnv("KUBERNETES_SERVICE_HOST", "fd00::1");
  vi.stubEnv("KUBERNETES_SERVICE_PORT", "443");
  const credentials = openCredentials({ from: "cluster", root: join(directory, "root") });
  vi.unstubAllEnvs();
  expect(credentials.text).toBe("https://[fd00::1]:443 (in cluster)");
  const first = await credentials.access();
  expect(first.headers).toEqual({ Authorization: "Bearer first" });
  writeFileSync(join(files, "token"), "second\n");
  const second = await credentials.access();
  expect(second.headers).toEqual({ Authorization: "Bearer second" });
  expect(second.agent).toBe(first.agent);
  writeFileSync(join(files, "ca.crt"), readFileSync(at("wrong.crt")));
  expect((await credentials.access()).agent).not.toBe(first.agent);
  credentials.close();
});
