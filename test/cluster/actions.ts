// The actions of a conformance case, as calls of the API.

import { assertNever } from "../../src/base/assert.ts";
import type { LabelMap } from "../../src/lab/lab-manifests.ts";
import type { Api, Manifest } from "./api.ts";
import { createPod, namespaceOf, podNamed, removeNamespace, servedSlice, setLabels } from "./objects.ts";
import { NODE } from "./world.ts";

interface CasePod {
  readonly namespace: string;
  readonly name: string;
  readonly labels: LabelMap;
  readonly ips: readonly string[];
  readonly hostNetwork?: boolean;
  readonly ports: readonly { readonly name?: string; readonly port: number; readonly protocol: string }[];
}

type Named = { readonly namespace: string; readonly name: string };

export type Action =
  | {
      readonly type:
        | "createPolicy"
        | "updatePolicy"
        | "createService"
        | "updateService"
        | "createEndpointSlice"
        | "updateEndpointSlice";
      readonly object: Manifest;
    }
  | ({ readonly type: "deletePolicy" | "deleteService" | "deleteEndpointSlice" | "deletePod" } & Named)
  | {
      readonly type: "createNamespace" | "setNamespaceLabels";
      readonly name: string;
      readonly labels: LabelMap;
    }
  | { readonly type: "deleteNamespace"; readonly name: string }
  | { readonly type: "createPod"; readonly pod: CasePod }
  | ({ readonly type: "setPodLabels"; readonly labels: LabelMap } & Named);

/** @throws Error if the API server refuses */
export async function perform(api: Api, action: Action): Promise<void> {
  switch (action.type) {
    case "createPolicy":
    case "createService":
    case "createEndpointSlice":
      await api.create(await servedSlice(api, completed(action.object)));
      return;
    case "updatePolicy":
    case "updateService":
    case "updateEndpointSlice":
      await api.replace(await servedSlice(api, completed(action.object)));
      return;
    case "deletePolicy":
      return remove(api, "networking.k8s.io/v1", "NetworkPolicy", action);
    case "deleteService":
      return remove(api, "v1", "Service", action);
    case "deleteEndpointSlice": {
      const { apiVersion = "" } = await servedSlice(api, EMPTY_SLICE);
      return remove(api, apiVersion, "EndpointSlice", action);
    }
    case "deletePod":
      return remove(api, "v1", "Pod", action);
    case "createNamespace":
      await api.create(namespaceOf(action.name, action.labels));
      return;
    case "setNamespaceLabels":
      return setLabels(api, namespaceOf(action.name), action.labels);
    case "deleteNamespace":
      return removeNamespace(api, action.name);
    case "createPod":
      return createPod(api, podObject(action.pod));
    case "setPodLabels":
      return setLabels(api, podNamed(`${action.namespace}/${action.name}`), action.labels);
    default:
      return assertNever(action, "action");
  }
}

/** A Service with addresses of both families must set more fields about them than matter to Weir. */
function completed(object: Manifest): Manifest {
  const spec = object["spec"] as { readonly clusterIPs?: readonly string[] } | undefined;
  const [clusterIP, second] = spec?.clusterIPs ?? [];
  if (object.kind !== "Service" || second === undefined) return object;
  return { ...object, spec: { ipFamilyPolicy: "RequireDualStack", clusterIP, ...spec } };
}

const EMPTY_SLICE: Manifest = {
  apiVersion: "discovery.k8s.io/v1",
  kind: "EndpointSlice",
  metadata: { name: "" },
};

async function remove(api: Api, apiVersion: string, kind: string, { namespace, name }: Named): Promise<void> {
  await api.remove({ apiVersion, kind, metadata: { namespace, name } });
}

const podObject = ({ namespace, name, labels, ips, ports, hostNetwork = false }: CasePod) => ({
  name: `${namespace}/${name}`,
  labels,
  addresses: ips,
  node: NODE,
  hostNetwork,
  ports: ports.map(({ port, ...rest }) => ({ ...rest, containerPort: port })),
});
