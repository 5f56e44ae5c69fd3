import { BlockGraph, createDefaultRegistry } from "../../../src/index.ts";
import type { Qcow2CheckOptions } from "../../../src/drivers/qcow2/check/check-image.ts";
import { checkQcow2 } from "../../../src/drivers/qcow2/tools.ts";
import type { Qcow2CheckReport } from "../../../src/drivers/qcow2/check/check-report.ts";

/** Checks an image file; with `repair` it is opened for writing. */
export async function checkFile(
  filename: string,
  options: Qcow2CheckOptions = {},
): Promise<Qcow2CheckReport> {
  return checkSpec({ driver: "file", filename }, options);
}

/** Checks the image in whatever the spec opens. */
export async function checkSpec(
  spec: { readonly driver: string; readonly [option: string]: unknown },
  options: Qcow2CheckOptions = {},
): Promise<Qcow2CheckReport> {
  const graph = new BlockGraph({ registry: createDefaultRegistry() });
  const repairs = options.repair !== undefined;
  const node = await graph.open({ ...spec, readOnly: !repairs });
  const edge = graph.attach(node, {
    name: "check",
    uses: repairs ? ["read", "write", "resize"] : ["read"],
    shares: ["read"],
  });
  try {
    return await checkQcow2(edge, options);
  } finally {
    await graph.closeAll();
  }
}
