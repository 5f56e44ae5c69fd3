import type { FileOps } from "./file-ops.ts";

let loading: Promise<FileOps | undefined> | undefined;

/** Whether the environment forbids native help; read at every open, so that one process can have both. */
function isForbidden(): boolean {
  const value = process.env["BLOCKMIRROR_NO_NATIVE"];
  return value !== undefined && value !== "" && value !== "0";
}

/** The native operations of this host, or undefined where there are none. They are loaded once per process. */
export async function loadFileOps(): Promise<FileOps | undefined> {
  if (isForbidden()) return undefined;
  loading ??= import("./native-ops.ts").then((native) => native.openNativeOps()).catch(() => undefined);
  return loading;
}
