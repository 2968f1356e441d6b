// What the agent may do at the API server: its service account with the rights that are shipped, and a token that can be revoked.

import { sign } from "node:crypto";
import { writeFileSync } from "node:fs";
import type { Api, Manifest } from "./api.ts";
import type { Servers } from "./servers.ts";

const NAMESPACE = "kube-system";
const NAME = "weir";

const SERVICE_ACCOUNT: Manifest = {
  apiVersion: "v1",
  kind: "ServiceAccount",
  metadata: { name: NAME, namespace: NAMESPACE },
};

const read = (apiGroup: string, ...resources: string[]) => ({
  apiGroups: [apiGroup],
  resources,
  verbs: ["list", "watch"],
});

const ROLE: Manifest = {
  apiVersion: "rbac.authorization.k8s.io/v1",
  kind: "ClusterRole",
  metadata: { name: NAME },
  rules: [
    read("", "namespaces", "nodes", "pods", "services"),
    read("discovery.k8s.io", "endpointslices"),
    read("networking.k8s.io", "networkpolicies"),
  ],
};

const BINDING: Manifest = {
  apiVersion: "rbac.authorization.k8s.io/v1",
  kind: "ClusterRoleBinding",
  metadata: { name: NAME },
  roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "ClusterRole", name: NAME },
  subjects: [{ kind: "ServiceAccount", name: NAME, namespace: NAMESPACE }],
};

export interface Access {
  /** A kubeconfig for the agent; its token is in a file beside it. */
  readonly kubeconfig: string;
  /** The token is of no use any more, until `restoreToken`. */
  revokeToken(): Promise<void>;
  restoreToken(): Promise<void>;
  /** The account may do nothing any more, until `grant`. */
  ungrant(): Promise<void>;
  grant(): Promise<void>;
}

/** Makes account, role, binding and token, and writes the kubeconfig into the directory. */
export async function openAccess(servers: Servers, directory: string): Promise<Access> {
  const { api } = servers;
  const account = await api.create(SERVICE_ACCOUNT);
  await api.create(ROLE);
  await api.create(BINDING);
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
    ungrant: () => done(api.remove(BINDING)),
    grant: () => done(api.create(BINDING)),
  };
}

const done = async (made: ReturnType<Api["remove"]>): Promise<void> => {
  await made;
};

const SECRET = `${NAME}-token`;

/** A token that is good as long as its secret and its account are there: claims as the API server's own of that kind. */
function tokenFor({ metadata }: Manifest, key: string): string {
  const claim = "kubernetes.io/serviceaccount";
  const claims = {
    iss: "kubernetes/serviceaccount",
    sub: `system:serviceaccount:${NAMESPACE}:${NAME}`,
    [`${claim}/namespace`]: NAMESPACE,
    [`${claim}/secret.name`]: SECRET,
    [`${claim}/service-account.name`]: NAME,
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
    namespace: NAMESPACE,
    annotations: {
      "kubernetes.io/service-account.name": NAME,
      "kubernetes.io/service-account.uid": metadata["uid"],
    },
  },
  data: { token: Buffer.from(token).toString("base64") },
});

const kubeconfigOf = ({ url, ca }: Servers) => ({
  apiVersion: "v1",
  kind: "Config",
  clusters: [{ name: "test", cluster: { server: url, "certificate-authority": ca } }],
  users: [{ name: NAME, user: { tokenFile: "token" } }],
  contexts: [{ name: "test", context: { cluster: "test", user: NAME } }],
  "current-context": "test",
});
