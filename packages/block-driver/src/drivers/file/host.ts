import type { FileOps } from "./file-ops.ts";
import { loadFileOps } from "./load-file-ops.ts";
import { NODE_CALLS, type FileCalls } from "./positional-io.ts";

/** How `createFileDriver` differs from the driver that everybody uses. */
export interface FileDriverInit {
  /** False does without native help, as `BLOCKMIRROR_NO_NATIVE=1` does for the whole process. Default true. */
  readonly native?: boolean;
  /** System calls to use instead of Node's. */
  readonly calls?: Partial<FileCalls>;
}

/** How the driver reaches the host. */
export interface Host {
  readonly calls: FileCalls;
  readonly ops: FileOps | undefined;
}

/** Finds what the host offers. Node's own calls stay recognisable, since only they may be gone past. */
export async function hostFor({ native, calls }: FileDriverInit): Promise<Host> {
  return {
    calls: calls === undefined ? NODE_CALLS : { ...NODE_CALLS, ...calls },
    ops: native === false ? undefined : await loadFileOps(),
  };
}
