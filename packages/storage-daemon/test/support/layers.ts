import type { JsonObject } from "@blockmirror/qmp";
import { qemuImg, qemuIo } from "./qemu.ts";
import type { Side } from "./sides.ts";

/** Three layers, each with a pattern of its own; only the uppermost is the monitor's. */
export async function addChain(side: Side): Promise<void> {
  const layers = ["base", "middle", "top"];
  for (const [index, name] of layers.entries()) {
    const below = layers[index - 1];
    const backing = below === undefined ? [] : ["-b", below, "-F", "qcow2"];
    await qemuImg("create", "-q", "-f", "qcow2", ...backing, side.path(name), "4M");
    await qemuIo("-f", "qcow2", "-c", `write -P ${index + 1} ${index}M 64k`, side.path(name));
  }
  const file = (name: string): JsonObject => ({ driver: "file", filename: side.path(name) });
  await side.run("blockdev-add", {
    driver: "qcow2",
    "node-name": "top",
    file: file("top"),
    backing: {
      driver: "qcow2",
      "node-name": "middle",
      file: file("middle"),
      backing: { driver: "qcow2", "node-name": "base", file: file("base") },
    },
  });
}
