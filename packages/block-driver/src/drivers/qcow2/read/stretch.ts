import { ClusterType } from "../format/l2-entry.ts";

/** Where the bytes of a read come from. */
export const Source = { Zeroes: 0, Data: 1, Backing: 2 } as const;
/** One of {@link Source}. */
export type Source = (typeof Source)[keyof typeof Source];

/** A part of a request that is one read below: neighbouring runs are joined, also across tables. */
export class Stretch {
  source: Source = Source.Zeroes;
  /** Where the first byte is stored; for `Data`. */
  host = 0;
  /** Guest bytes `[from, to)`. */
  from = 0;
  to = 0;

  /** Begins anew, empty. */
  begin(source: Source, host: number, from: number): void {
    this.source = source;
    this.host = host;
    this.from = from;
    this.to = from;
  }

  get isEmpty(): boolean {
    return this.from === this.to;
  }

  /** Whether a run that begins where this stretch ends is one read with it. */
  goesOn(source: Source, host: number): boolean {
    if (this.isEmpty || source !== this.source) return false;
    return source !== Source.Data || host === this.host + (this.to - this.from);
  }
}

/** Where a run of that type is read from; compressed and invalid ones are no stretch. */
export function sourceOf(type: Exclude<ClusterType, NoSource>): Source {
  switch (type) {
    case ClusterType.Normal:
      return Source.Data;
    case ClusterType.ZeroPlain:
    case ClusterType.ZeroAllocated:
      return Source.Zeroes;
    case ClusterType.Unallocated:
    case ClusterType.UnallocatedReserved:
      return Source.Backing;
  }
}

type NoSource = typeof ClusterType.Compressed | typeof ClusterType.Invalid;
