import { JobTransaction } from "@blockmirror/blockjob";
import { expect, test } from "vitest";
import { startMirror, type CopyMode, type Mirror } from "../src/index.ts";
import { MIB, openRig, seededRandom, type Rig } from "./support/rig.ts";

/** A mirror whose target is mirrored on: each of the two jobs is a guest of the other's nodes, and both end at any time. */

const SEED = Number(process.env["BLOCKMIRROR_SEED"] ?? 20_140_601);
const ROUNDS = Number(process.env["BLOCKMIRROR_RUNS"] ?? 25);
const SIZE = MIB;
const MODES: readonly CopyMode[] = ["background", "write-blocking", "auto"];

interface Writer {
  readonly shown: Buffer;
  readonly run: Promise<void>;
  stop(): void;
}

function startWriter(
  rig: Rig,
  write: (offset: number, bytes: Buffer) => Promise<void>,
  random: () => number,
): Writer {
  const shown = Buffer.alloc(SIZE, 1);
  const state = { isStopping: false };
  const run = async (): Promise<void> => {
    while (!state.isStopping) {
      const offset = Math.floor(random() * (SIZE - 1));
      const bytes = Buffer.alloc(
        Math.min(SIZE - offset, 1 + Math.floor(random() * 20_000)),
        1 + Math.floor(random() * 255),
      );
      await write(offset, bytes);
      bytes.copy(shown, offset);
      const restMs = Math.floor(random() * 5);
      await new Promise<void>((resolve) => void rig.clock.schedule(restMs, resolve));
    }
  };
  return { shown, run: run(), stop: () => void (state.isStopping = true) };
}

/** How the two jobs come to their end: by themselves, each when it is told to, or both together. */
const ENDS = ["by itself", "when told", "together"] as const;
const CASES = ENDS.flatMap((end) =>
  [false, true].flatMap((fails) =>
    Array.from({ length: ROUNDS }, (_, round) => ({ end, fails, seed: SEED + round })),
  ),
);

test.each(CASES)(
  "both complete ($end, some writes fail: $fails) while a guest writes, and it ends on the last target with every byte (seed $seed)",
  async ({ end, fails, seed }) => {
    const random = seededRandom(seed);
    const rig = await openRig({ size: SIZE, latency: () => Math.floor(random() * 4) });
    rig.fill("source", 0, SIZE, 1);
    const { graph, jobs } = rig;
    const last = await graph.open({ driver: "memory", nodeName: "last", size: SIZE });
    const guest = rig.guest();
    const mode = (): CopyMode => MODES[Math.floor(random() * MODES.length)] ?? "auto";
    const tuning = {
      autoDismiss: false,
      autoFinalize: end === "by itself",
      onTargetError: "ignore",
      ...(end === "together" && { transaction: new JobTransaction() }),
    } as const;
    const start = (id: string, source = rig.source, target = last): Promise<Mirror> =>
      rig.run(startMirror({ id, graph, jobs, source, target, copyMode: mode(), ...tuning }));
    for (let nth = fails ? 20 : 400; nth < 400; nth += 3)
      rig.targetFaults.add({ operation: "write", nth, error: "EIO" });
    const mirrors: Mirror[] = [];
    if (random() < 0.5) {
      mirrors.push(await start("first", rig.source, rig.target), await start("second", rig.target));
    } else {
      mirrors.push(await start("second", rig.target));
      mirrors.push(await start("first", rig.source, graph.find("#mirror-second")));
    }
    // A guest that is on the failing target by now tries again, as guests do.
    const write = async (offset: number, bytes: Buffer): Promise<void> => {
      try {
        await guest.write(offset, [bytes]);
      } catch {
        await write(offset, bytes);
      }
    };
    const writer = startWriter(rig, write, random);
    const areOver = (): boolean => mirrors.every(({ job }) => job.status === "concluded");
    for (let step = 0; step < 2000 && !areOver(); step += 1) {
      await rig.clock.advance(5);
      // Some guests are simply faster than two jobs can copy.
      if (step === 300) writer.stop();
      for (const { job } of mirrors) {
        const asked = job.snapshot().completeRequested;
        if (job.status === "pending" && end !== "by itself" && random() < 0.05) job.finalize();
        if (job.status === "ready" && !asked && random() < 0.3) await rig.run(job.complete());
      }
    }
    expect(mirrors.map(({ job }) => job.status)).toEqual(["concluded", "concluded"]);
    await rig.clock.advance(50);
    writer.stop();
    await rig.run(writer.run);
    for (const { job } of mirrors) expect(await rig.run(job.done)).toEqual({ outcome: "completed" });
    expect(guest.node).toBe(last);
    const bytes = Buffer.alloc(SIZE);
    await guest.read(0, [bytes]);
    expect(bytes.equals(writer.shown)).toBe(true);
    await graph.closeAll();
  },
);
