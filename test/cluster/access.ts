// What the agent may do at the API server: its service account with the shipped rights, and a token that can be revoked.

import { sign } from "node:crypto";
import { readFileSync, writeFileSync } from "node:fs";
import { parseAllDocuments } from "yaml";
import type { Api, Manifest } from "./api.ts";
import type { Servers } from "./servers.ts";

/** The parts of the shipped manifest that state what the agent may do. */
interface Shipped {
  readonly account: Manifest;
  readonly role: Manifest;
  readonly binding: Manifest;
}

function shipped(): Shipped {
  const text = readFileSync(new URL("../../deploy/weir.yaml", import.meta.url), "utf8");
  const objects = parseAllDocuments(text).map((document) => document.toJS() as Manifest | null);
  const only = (kind: string): Manifest => {
    const found = objects.filter((object) => object?.kind === kind);
    const [object] = found;
    if (!object || found.length > 1)
      throw new Error(`deploy/weir.yaml has ${found.length} objects of kind ${kind}`);
    return object;
  };
  return {
    account: only("ServiceAccount"),
    role: only("ClusterRole"),
    binding: only("ClusterRoleBinding"),
  };
}

export interface Access {
  /** A kubeconfig for the agent; its token is in a file beside it. */
  readonly kubeconfig: string;
  /** Revokes the token until `restoreToken`. */
  revokeToken(): Promise<void>;
  restoreToken(): Promise<void>;
  /** Revokes all rights of the account until `grant`. */
  ungrant(): Promise<void>;
  grant(): Promise<void>;
}

/** Creates account, role, binding and token, and writes the kubeconfig into the directory. */
export async function openAccess(servers: Servers, directory: string): Promise<Access> {
  const { api } = servers;
  const { account: wanted, role, binding } = shipped();
  const account = await api.create(wanted);
  await api.create(role);
  await api.create(binding);
  const token = tokenFor(account, servers.serviceAccountKey);
  const secret = secretOf(account, token);
  await api.create(secret);
  writeFileSync(`${directory}/token`, token, { mode: 0o600 });
  const kubeconfig = `${directory}/kubeconfig`;
  writeFileSync(kubeconfig, JSON.stringify(kubeconfigOf(servers)), { mode: 0o600 });
  return {
    kubeconfig,
    revokeToken: () => done(api.remove(secret)),
    restoreToken: () => done(api.create(secret)),
    ungrant: () => done(api.remove(binding)),
    grant: () => done(api.create(binding)),
  };
}

const done = async (made: ReturnType<Api["remove"]>): Promise<void> => {
  await made;
};

const SECRET = "token-of-the-test";

/** A token that is valid as long as its secret and its account exist: claims as in the API server's own tokens of that kind. */
function tokenFor({ metadata }: Manifest, key: string): string {
  const { namespace, name } = metadata;
  const claim = "kubernetes.io/serviceaccount";
  const claims = {
    iss: "kubernetes/serviceaccount",
    sub: `system:serviceaccount:${namespace}:${name}`,
    [`${claim}/namespace`]: namespace,
    [`${claim}/secret.name`]: SECRET,
    [`${claim}/service-account.name`]: name,
    [`${claim}/service-account.uid`]: metadata["uid"],
  };
  const encoded = [{ alg: "RS256" }, claims].map((part) => base64url(JSON.stringify(part))).join(".");
  return `${encoded}.${base64url(sign("RSA-SHA256", Buffer.from(encoded), key))}`;
}

const base64url = (value: string | Buffer): string => Buffer.from(value).toString("base64url");

const secretOf = ({ metadata }: Manifest, token: string): Manifest => ({
  apiVersion: "v1",
  kind: "Secret",
  type: "kubernetes.io/service-account-token",
  metadata: {
    name: SECRET,
    namespace: metadata.namespace ?? "",
    annotations: {
      "kubernetes.io/service-account.name": metadata.name,
      "kubernetes.io/service-account.uid": metadata["uid"],
    },
  },
  data: { token: Buffer.from(token).toString("base64") },
});

const kubeconfigOf = ({ url, ca }: Servers) => ({
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "test", cluster: { server: url, "certificate-authority": ca } }],
  users: [{ name: "weir", user: { tokenFile: "token" } }],
  contexts: [{ name: "test", context: { cluster: "test", user: "weir" } }],
  "current-context": "test",
});
