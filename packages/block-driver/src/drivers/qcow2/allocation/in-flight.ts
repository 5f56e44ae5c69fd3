import { deferred, type Deferred } from "../../../io/deferred.ts";

/** Guest clusters whose mapping is about to change. */
export interface ClusterClaim {
  /** First byte, at the start of a cluster. */
  readonly start: number;
  /** End in bytes, at the end of a cluster. */
  readonly end: number;
  /** Made by the first who waits. */
  released: Deferred | undefined;
}

/**
 * Allocations on their way: between the moment a host cluster was chosen and the moment it is linked, nobody else may
 * decide anything about the same guest clusters (two writers of one unallocated cluster must not both allocate it). There
 * are only as many as requests in flight, so they are simply looked through.
 */
export class InFlightAllocations {
  readonly #claims: ClusterClaim[] = [];

  get size(): number {
    return this.#claims.length;
  }

  /** The claim that touches `[start, end)` and starts first, or undefined. */
  firstWithin(start: number, end: number): ClusterClaim | undefined {
    let first: ClusterClaim | undefined;
    for (const claim of this.#claims) {
      if (claim.start < end && start < claim.end && (first === undefined || claim.start < first.start)) {
        first = claim;
      }
    }
    return first;
  }

  /** Claims whole clusters that nobody has claimed. */
  claim(start: number, end: number): ClusterClaim {
    const claim: ClusterClaim = { start, end, released: undefined };
    this.#claims.push(claim);
    return claim;
  }

  /** Ends a claim; who waits for it looks at the clusters afresh. */
  release(claim: ClusterClaim): void {
    const last = this.#claims.pop();
    const index = this.#claims.indexOf(claim);
    if (last !== undefined && last !== claim && index >= 0) this.#claims[index] = last;
    claim.released?.resolve();
  }

  /** Settles when the claim has been released. */
  wait(claim: ClusterClaim): Promise<void> {
    claim.released ??= deferred();
    return claim.released.promise;
  }
}
