import type { DeviceInfo } from "../contract/device.ts";
import type { ContentModel } from "./content-model.ts";
import type { Random } from "./random.ts";
import type { Specimen } from "./subject.ts";

/** One request with its effect on a model. */
export interface Operation {
  /** For messages. */
  readonly text: string;
  readonly run: (specimen: Specimen) => Promise<void>;
  /** What it does when it succeeds. */
  readonly apply: (model: ContentModel, info: DeviceInfo) => void;
  /** What it may have done when it failed, or is not durable yet. */
  readonly mayApply: (model: ContentModel, info: DeviceInfo) => void;
}

/** A range with a liking for the edges of units: `k * unit + {0, 1, 511, 512}` and the end of the disk. */
export function interestingRange(
  random: Random,
  info: DeviceInfo,
): { readonly offset: number; readonly length: number } {
  const a = interestingOffset(random, info);
  const b =
    random.below(2) === 0 ? interestingOffset(random, info) : Math.min(info.size, a + random.below(5000));
  return { offset: Math.min(a, b), length: Math.abs(b - a) };
}

function interestingOffset(random: Random, info: DeviceInfo): number {
  const { align, size } = info;
  const unit = random.pick([512, 4096, align.write, align.zero, align.discard, align.allocation || 65536]);
  const base = random.below(5) === 0 ? size : random.below(Math.floor(size / unit) + 1) * unit;
  return Math.max(0, Math.min(size, base + random.pick([0, 0, 1, -1, 511, -511, 512, -512])));
}

/** A random request that the device can do. */
export function randomOperation(random: Random, info: DeviceInfo): Operation {
  const { can } = info;
  const { offset, length } = interestingRange(random, info);
  const kinds = ["read", "read"];
  if (can.write && !info.readOnly) kinds.push("write", "write", "writeZeroes", "unmap", "discard", "flush");
  const kind = random.pick(kinds);
  const text = `${kind} ${offset}+${length}`;
  switch (kind) {
    case "write": {
      const data = random.bytes(length);
      const from = random.pieces(data);
      const fua = random.below(4) === 0;
      return {
        text,
        run: async ({ edge }) => edge.write(offset, from, { fua }),
        apply: (model) => model.write(offset, data),
        mayApply: (model) => model.mayWrite(offset, data),
      };
    }
    case "writeZeroes":
    case "unmap": {
      const options = { unmap: kind === "unmap", fua: random.below(8) === 0 };
      return {
        text,
        run: async ({ edge }) => edge.writeZeroes(offset, length, options),
        apply: (model) => model.zero(offset, length),
        mayApply: (model) => model.mayZero(offset, length),
      };
    }
    case "discard":
      return {
        text,
        run: async ({ edge }) => edge.discard(offset, length),
        apply: (model, now) => model.discard(offset, length, now),
        mayApply: (model, now) => model.mayDiscard(offset, length, now),
      };
    case "flush":
      return { text: "flush", run: async ({ edge }) => edge.flush(), apply: () => {}, mayApply: () => {} };
    default: {
      const buffer = new Uint8Array(length);
      const into = random.pieces(buffer);
      return {
        text,
        run: async ({ edge }) => edge.read(offset, into),
        apply: (model) => model.check(offset, buffer, text),
        mayApply: () => {},
      };
    }
  }
}
