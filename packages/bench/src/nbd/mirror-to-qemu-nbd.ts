import { join } from "node:path";

import { formatBytes } from "../format.ts";
import { interleave, medianOf } from "../interleave.ts";
import { mirrorToNbd } from "../process/daemon-mirror.ts";
import { QemuNbd } from "../process/qemu-nbd.ts";
import { assertIdentical, settle, writeFullImage } from "../raw/images.ts";
import type { Scenario } from "../scenario.ts";

/** A full image onto a target that qemu-nbd serves: our client against QEMU's, with the same server and commands. */
export const nbdMirrorToQemuNbd: Scenario = {
  name: "nbd/mirror-to-qemu-nbd",
  title: "raw to a raw image behind qemu-nbd, full of data onto an existing target",
  needs: ["qemu-nbd", "qemu-storage-daemon", "qemu-img"],

  async run({ directory, dataBytes, runs, log }) {
    const source = join(directory, "source.raw");
    const target = join(directory, "target.raw");
    log(`writing two images of ${formatBytes(dataBytes)}`);
    await writeFullImage(source, dataBytes);
    await writeFullImage(target, dataBytes);

    const server = await QemuNbd.start(target, directory);
    try {
      const contestants = {
        ours: () => mirrorToNbd("ours", source, server.socketPath),
        qemu: () => mirrorToNbd("qemu", source, server.socketPath),
      };
      const results = await interleave(contestants, { runs, afterEach: () => settle(target) });
      await mirrorToNbd("ours", source, server.socketPath);
      await assertIdentical(source, `nbd+unix:///?socket=${server.socketPath}`);

      const size = formatBytes(dataBytes);
      const name = "qemu-storage-daemon";
      return [
        {
          figure: `${size} to qemu-nbd, job start to READY`,
          unit: "ms",
          ours: medianOf(results, "ours", (run) => run.readyMs),
          peer: { name, value: medianOf(results, "qemu", (run) => run.readyMs) },
          bar: { on: "ratio", atLeast: 1.2 },
        },
        {
          figure: `${size} to qemu-nbd, job start to completed`,
          unit: "ms",
          ours: medianOf(results, "ours", (run) => run.completedMs),
          peer: { name, value: medianOf(results, "qemu", (run) => run.completedMs) },
        },
      ];
    } finally {
      server.stop();
    }
  },
};
