// Services and the slices of their endpoints: what kube-proxy makes of an address, as far as policies need it.

import { addressHash } from "../base/address-filter.ts";
import type { Address, Family } from "../base/ip.ts";
import type { Protocol } from "./protocol.ts";
import type { Labels } from "./selector.ts";

export interface ServicePort {
  /** "" where the Service has one port without a name. Slices have the same name. */
  readonly name: string;
  readonly protocol: Protocol;
  readonly port: number;
  /** The port of the pods behind it, or its name there. Only used where no slice has it. */
  readonly target: number | string;
}

export interface Service {
  readonly namespace: string;
  readonly name: string;
  /** Empty for headless and ExternalName Services, and while none is assigned. */
  readonly clusterIps: readonly Address[];
  /** spec.externalIPs, which kube-proxy rewrites on the node as well. Users who may create Services write any address there. */
  readonly externalIps: readonly Address[];
  /** Of the status, which the load balancer's controller writes: users need another right for it. */
  readonly loadBalancerIps: readonly Address[];
  readonly ports: readonly ServicePort[];
  /** Undefined where the Service selects no pods: the endpoint controller does not write its slices. */
  readonly selector: Labels | undefined;
  /** internalTrafficPolicy is Local: a ClusterIP leads to endpoints on the same node only. */
  readonly onlyLocal: boolean;
  /** externalTrafficPolicy is Local: the same of its external addresses, unless kube-proxy knows that the sender is a pod of the cluster. */
  readonly onlyLocalOutside?: true;
  /**
   * Set where the Service exceeds its namespace's share of the agent's memory: of its addresses the ClusterIPs are kept, and of all of them
   * the hashes (addressHash()); no ports and no selector.
   */
  readonly exceeds?: { readonly hashes: Uint32Array };
}

/** All addresses that kube-proxy rewrites for a Service; of one that exceeds its share the ClusterIPs. */
export const addressesOfService = ({
  clusterIps,
  externalIps,
  loadBalancerIps,
}: Service): readonly Address[] => [...clusterIps, ...loadBalancerIps, ...externalIps];

/** The hashes of all addresses of a Service. */
export const hashesOfService = (service: Service): Iterable<number> =>
  service.exceeds?.hashes ?? addressesOfService(service).map(addressHash);

/** One endpoint of a slice. */
export interface SliceEndpoint {
  /** The first one: kube-proxy uses no other. */
  readonly address: Address;
  readonly ready: boolean;
  /** Still answers, though it may be terminating. */
  readonly serving: boolean;
  readonly terminating: boolean;
  readonly node?: string;
}

export interface EndpointSlice {
  readonly namespace: string;
  readonly name: string;
  /** The Service that it belongs to, by the label kubernetes.io/service-name; undefined where it belongs to none. */
  readonly service: string | undefined;
  readonly family: Family;
  /** Those that have a number. */
  readonly ports: readonly { readonly name: string; readonly protocol: Protocol; readonly port: number }[];
  readonly endpoints: readonly SliceEndpoint[];
  /** Set where the slice exceeds its namespace's share of the agent's memory: neither its ports nor its endpoints are kept. */
  readonly exceeds?: true;
}
