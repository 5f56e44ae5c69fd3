import type * as Koffi from "koffi";

/** Where the layouts and numbers that native code relies on hold: 64-bit, little-endian Linux. */
const ARCHITECTURES: ReadonlySet<string> = new Set(["x64", "arm64", "riscv64", "loong64"]);

/** The C functions of this process: those of the C library, and those that the runtime has linked and exports. */
export interface CLibrary {
  readonly functions: Koffi.LibraryHandle;
  /** Address of the bytes, which hold still. Whoever uses it keeps them alive. */
  readonly addressOf: (memory: Uint8Array) => bigint;
  /** `errno` as the last call from this thread left it. */
  readonly errno: () => number;
}

/** A C function of integers and pointers, callable on the thread pool; the callback gets its result. */
export interface AsyncFunction {
  async(...args: readonly [...unknown[], (error: unknown, result: number) => void]): void;
}

/** Whether the environment forbids native help; read at every open, so that one process can have both. */
export function isNativeForbidden(): boolean {
  const value = process.env["BLOCKMIRROR_NO_NATIVE"];
  return value !== undefined && value !== "" && value !== "0";
}

/**
 * Binds the C functions of this process.
 * @throws when the system, the architecture or the optional `koffi` package is missing.
 */
export async function openCLibrary(): Promise<CLibrary> {
  if (process.platform !== "linux" || !ARCHITECTURES.has(process.arch)) {
    throw new Error(`no native help on ${process.platform} ${process.arch}`);
  }
  const { default: koffi } = await import("koffi");

  return {
    functions: koffi.load(null),
    addressOf: (memory) => koffi.address(memory),
    errno: () => koffi.errno(),
  };
}
