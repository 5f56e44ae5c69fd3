import type { ChildRole } from "../contract/driver.ts";
import type { Permission } from "../contract/permissions.ts";
import type { BlockNode } from "./node.ts";
import { ALL_PERMISSIONS, assertCompatible, permissionMask, type PermissionClaim } from "./permissions.ts";

/**
 * Checks the claims on a node and, through filters, on those below: a filter claims from its child what its own parents
 * claim from it, and shares at most what it was made with.
 * @throws BlockError `EBUSY` naming both sides of a conflict. Claims of filters below are updated all the same, so the
 * caller undoes its change and checks again.
 */
export function checkClaims(node: BlockNode): void {
  assertCompatible(node.name, node.parents);
  const child = node.kind === "filter" ? node.child("filtered") : undefined;
  if (child === undefined) return;
  let uses = 0;
  let shares = permissionMask(ALL_PERMISSIONS);
  for (const parent of node.parents) {
    uses |= parent.uses;
    shares &= parent.shares;
  }
  child.reclaim(uses, shares & child.sharesAtMost);
  checkClaims(child.node);
}

/**
 * What an overlay claims from its backing node: its own answers depend on the content there, so nobody else may change
 * it; bytes that are there already may be written.
 */
export const BACKING_CLAIM: PermissionClaim = { uses: ["read"], shares: ["read", "write-unchanged"] };

/** What a parent claims that does nothing now, and minds nothing that others do: it is there, and is told of drained sections. */
export const NO_CLAIM: PermissionClaim = { uses: [], shares: ALL_PERMISSIONS };

/** What a format or filter node claims from a child it opened. */
export function childClaim(role: ChildRole, readOnly: boolean): PermissionClaim {
  // A filter's claim is what its parents claim; it is computed when they attach.
  if (role === "filtered") return NO_CLAIM;
  if (role === "backing") return BACKING_CLAIM;
  const uses: Permission[] = readOnly ? ["read"] : ["read", "write", "resize"];
  return { uses, shares: readOnly ? ["read", "write-unchanged"] : ["read"] };
}
