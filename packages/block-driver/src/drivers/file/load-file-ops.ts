import { isNativeForbidden } from "../../native/c-library.ts";
import type { FileOps } from "./file-ops.ts";

let loading: Promise<FileOps | undefined> | undefined;

/** The native operations of this host, or undefined where there are none. They are loaded once per process. */
export async function loadFileOps(): Promise<FileOps | undefined> {
  if (isNativeForbidden()) return undefined;
  loading ??= import("./native-ops.ts").then((native) => native.openNativeOps()).catch(() => undefined);
  return loading;
}
