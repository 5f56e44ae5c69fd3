/** What a check found, in QEMU's classes. */
export interface Qcow2CheckReport {
  /** Places that could not be checked, mostly because they could not be read. */
  readonly checkErrors: number;
  /** Contradictions that endanger data, still there. */
  readonly corruptions: number;
  /** Clusters that are in use by nobody, still there. They only waste space. */
  readonly leaks: number;
  /** Contradictions that the repair removed. */
  readonly corruptionsFixed: number;
  /** Clusters that the repair gave back. */
  readonly leaksFixed: number;
  /** Where the last cluster in use ends in the file, in bytes. */
  readonly imageEndOffset: number;
  /** Clusters of the disk. */
  readonly totalClusters: number;
  /** Clusters of the disk that the active layer holds. */
  readonly allocatedClusters: number;
  /** Of these, how many do not lie behind their predecessor in the file. */
  readonly fragmentedClusters: number;
  /** Of these, how many are compressed. */
  readonly compressedClusters: number;
}

/** One thing that a check found. */
export interface Qcow2Finding {
  readonly kind: "corruption" | "leak" | "error";
  /** One sentence for people. */
  readonly message: string;
  /** The repair removed it. */
  readonly fixed: boolean;
}

/** How far a check is. The total can grow while it runs. */
export interface Qcow2CheckProgress {
  /** Tables looked at. */
  readonly done: number;
  readonly total: number;
}

/** Counts what is found and tells it; nothing is kept, so that a ruined image costs no memory. */
export class Findings {
  readonly #tell: ((finding: Qcow2Finding) => void) | undefined;
  errors = 0;
  corruptions = 0;
  leaks = 0;
  corruptionsFixed = 0;
  leaksFixed = 0;

  constructor(tell?: (finding: Qcow2Finding) => void) {
    this.#tell = tell;
  }

  error(message: string, times = 1): void {
    this.errors += times;
    this.#tell?.({ kind: "error", message, fixed: false });
  }

  corruption(message: string, times = 1): void {
    this.corruptions += times;
    this.#tell?.({ kind: "corruption", message, fixed: false });
  }

  leak(message: string): void {
    this.leaks += 1;
    this.#tell?.({ kind: "leak", message, fixed: false });
  }

  fixedCorruption(message: string): void {
    this.corruptionsFixed += 1;
    this.#tell?.({ kind: "corruption", message, fixed: true });
  }

  fixedLeak(message: string): void {
    this.leaksFixed += 1;
    this.#tell?.({ kind: "leak", message, fixed: true });
  }
}
