import { hostOffsetOf, L1_RESERVED } from "../format/l2-entry.ts";
import { viewOf } from "../format/u64.ts";

/** The L2 tables that an L1 table names, each once, by ascending offset: a hostile one names the same table a million times. */
export interface NamedTables {
  /** Host offset of each table. */
  readonly offsets: Float64Array;
  /** Index of the first entry that names it. */
  readonly firstIndex: Uint32Array;
  /** How many entries name it. */
  readonly times: Uint32Array;
}

/** What is wrong with an entry of an L1 table. */
export interface L1Complaint {
  readonly index: number;
  readonly offset: number;
  readonly what: "reserved bits" | "unaligned";
}

/** Collects the L2 tables that the L1 table in `bytes` names. Unaligned ones are told and left out. */
export function namedTables(
  bytes: Uint8Array,
  clusterSize: number,
  complain: (complaint: L1Complaint) => void,
): NamedTables {
  const view = viewOf(bytes);
  const entries = bytes.length / 8;
  const byEntry = new Float64Array(entries);
  let count = 0;
  for (let index = 0; index < entries; index += 1) {
    const high = view.getUint32(8 * index);
    const low = view.getUint32(8 * index + 4);
    if (high === 0 && low === 0) continue;
    const offset = hostOffsetOf(high, low);
    if ((high & L1_RESERVED.high) !== 0 || (low & L1_RESERVED.low) !== 0) {
      complain({ index, offset, what: "reserved bits" });
    }
    if (offset === 0) continue;
    if (offset % clusterSize !== 0) complain({ index, offset, what: "unaligned" });
    else {
      byEntry[index] = offset;
      count += 1;
    }
  }
  const order = new Uint32Array(count);
  let filled = 0;
  for (let index = 0; index < entries; index += 1) {
    if (byEntry[index] !== 0) {
      order[filled] = index;
      filled += 1;
    }
  }
  order.sort((one, other) => (byEntry[one] ?? 0) - (byEntry[other] ?? 0) || one - other);
  return grouped(order, byEntry);
}

function grouped(order: Uint32Array, byEntry: Float64Array): NamedTables {
  const offsets = new Float64Array(order.length);
  const firstIndex = new Uint32Array(order.length);
  const times = new Uint32Array(order.length);
  let tables = 0;
  for (const index of order) {
    const offset = byEntry[index] ?? 0;
    if (tables > 0 && offsets[tables - 1] === offset) {
      times[tables - 1] = (times[tables - 1] ?? 0) + 1;
      continue;
    }
    offsets[tables] = offset;
    firstIndex[tables] = index;
    times[tables] = 1;
    tables += 1;
  }
  return {
    offsets: offsets.subarray(0, tables),
    firstIndex: firstIndex.subarray(0, tables),
    times: times.subarray(0, tables),
  };
}
