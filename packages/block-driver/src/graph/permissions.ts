import type { Permission } from "../contract/permissions.ts";
import { BlockError } from "../errors.ts";

/** A parent's claim on a node: what it does, and what it tolerates from the node's other parents. */
export interface PermissionClaim {
  readonly uses: readonly Permission[];
  readonly shares: readonly Permission[];
}

/** A claim in bits, as edges keep it. */
export interface PermissionMasks {
  readonly uses: number;
  readonly shares: number;
}

const BITS: Readonly<Record<Permission, number>> = { read: 1, write: 2, "write-unchanged": 4, resize: 8 };
const ALL: readonly Permission[] = ["read", "write", "write-unchanged", "resize"];

/** Every permission, for parents that tolerate everything. */
export const ALL_PERMISSIONS: readonly Permission[] = ALL;

/** The bits of a list of permissions. */
export function permissionMask(permissions: readonly Permission[]): number {
  return permissions.reduce((mask, permission) => mask | BITS[permission], 0);
}

/** Whether the mask has the permission. */
export function hasPermission(mask: number, permission: Permission): boolean {
  return (mask & BITS[permission]) !== 0;
}

/** The bits as a list, in a fixed order. */
function permissionList(mask: number): readonly Permission[] {
  return ALL.filter((permission) => hasPermission(mask, permission));
}

/** One side of a possible conflict: a claim and the name of who makes it. */
export interface Claimant extends PermissionMasks {
  readonly parentName: string;
}

/**
 * Refuses a set of claims on one node in which anybody does what another does not share.
 * @throws BlockError `EBUSY` naming both parents, the node and the permission.
 */
export function assertCompatible(nodeName: string, claimants: Iterable<Claimant>): void {
  const all = [...claimants];
  for (const user of all) {
    for (const other of all) {
      if (user === other) continue;
      const refused = user.uses & ~other.shares;
      if (refused === 0) continue;
      const what = permissionList(refused).join(" and ");
      throw new BlockError(
        "EBUSY",
        `node '${nodeName}' is in use: ${user.parentName} needs ${what}, which ${other.parentName} does not share`,
        { node: nodeName, operation: "attach" },
      );
    }
  }
}
