// In which order the nodes tell what all of them know: each works it out for itself, and none has to ask.

import type { Cluster } from "../../model/cluster.ts";

/**
 * How many nodes go before this one with this notice (rendezvous hashing: the order is another one for each notice, and a
 * node that goes or comes changes that of no two others). Nodes are known by their pods.
 */
export function openTurns(pods: Cluster["pods"], node: string): (key: string) => number {
  let nodes: ReadonlySet<string> | undefined;
  return (key) => {
    nodes ??= new Set(pods.values().flatMap((pod) => (pod.node === undefined ? [] : [pod.node])));
    const own = placeOf(key, node);
    return nodes.values().reduce((turn, other) => {
      const place = placeOf(key, other);
      return place < own || (place === own && other < node) ? turn + 1 : turn;
    }, 0);
  };
}

/** FNV-1a, mixed by the finaliser of MurmurHash3: names that differ in their last letter only lie far apart. */
function placeOf(key: string, node: string): number {
  const text = `${key} ${node}`;
  let hash = 0x811c9dc5;
  for (let index = 0; index < text.length; index += 1)
    hash = Math.imul(hash ^ text.charCodeAt(index), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 16), 0x85ebca6b);
  hash = Math.imul(hash ^ (hash >>> 13), 0xc2b2ae35);
  return (hash ^ (hash >>> 16)) >>> 0;
}
