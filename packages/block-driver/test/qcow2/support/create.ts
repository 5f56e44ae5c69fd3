import { writeFileSync } from "node:fs";
import {
  BlockError,
  BlockGraph,
  createDefaultRegistry,
  DRIVER_CONTRACT_VERSION,
  optionSchema,
} from "../../../src/index.ts";
import { qcow2CreateOptions } from "../../../src/drivers/qcow2/create/create-options.ts";
import { createQcow2 } from "../../../src/drivers/qcow2/create/create-image.ts";

/** Creates a qcow2 image in a new file, by the driver's option names. */
export async function createImage(
  filename: string,
  size: number,
  options: Readonly<Record<string, unknown>> = {},
): Promise<void> {
  writeFileSync(filename, "");
  await createOver({ driver: "file", filename }, size, options);
}

/** Creates a qcow2 image in what is there already. */
export async function createOver(
  file: unknown,
  size: number,
  options: Readonly<Record<string, unknown>> = {},
  signal?: AbortSignal,
): Promise<void> {
  const registry = createDefaultRegistry();
  if (!registry.has("qcow2")) {
    registry.register({
      name: "qcow2",
      kind: "format",
      contractVersion: DRIVER_CONTRACT_VERSION,
      options: optionSchema({}),
      createOptions: qcow2CreateOptions,
      create: createQcow2,
      open: () => Promise.reject(new BlockError("ENOTSUP", "only creates")),
    });
  }
  const graph = new BlockGraph({ registry });
  try {
    await graph.create("qcow2", { file, size, ...options }, signal);
  } finally {
    await graph.closeAll();
  }
}
