import { performance } from "node:perf_hooks";

import { interleave, medianOf } from "../interleave.ts";
import { startDaemon, type DaemonName } from "../process/daemon-mirror.ts";
import type { Scenario } from "../scenario.ts";

/** A start is short beside what else a machine does: its median needs more runs than a copy's. */
const LEAST_RUNS = 20;

/** Milliseconds until a daemon that is started has answered `qmp_capabilities`. */
async function timeToAnswer(name: DaemonName): Promise<{ readonly ms: number }> {
  const started = performance.now();
  const daemon = await startDaemon(name);
  const ms = performance.now() - started;
  await daemon.stop();
  return { ms };
}

/** Scripts that start a daemon for one job expect it at once. */
export const daemonStart: Scenario = {
  name: "daemon/start",
  title: "a storage daemon, from its start to its first answer",
  needs: ["qemu-storage-daemon"],

  async run({ runs }) {
    const results = await interleave(
      {
        ours: () => timeToAnswer("ours"),
        qemu: () => timeToAnswer("qemu"),
      },
      { runs: Math.max(runs, LEAST_RUNS) },
    );
    return [
      {
        figure: "start to the answer of qmp_capabilities",
        unit: "ms",
        ours: medianOf(results, "ours", ({ ms }) => ms),
        peer: {
          name: "qemu-storage-daemon",
          value: medianOf(results, "qemu", ({ ms }) => ms),
        },
        bar: { on: "value", atMost: 150 },
      },
    ];
  },
};
