import type { DeviceInfo } from "../contract/device.ts";
import type { ContentModel } from "./content-model.ts";
import type { Random } from "./random.ts";
import type { Specimen } from "./subject.ts";

/** One request with its effect on a model. */
export interface Operation {
  /** For messages. */
  readonly text: string;
  /** Range whose content is uncertain when it fails. */
  readonly offset: number;
  readonly length: number;
  readonly run: (specimen: Specimen) => Promise<void>;
  readonly apply: (model: ContentModel, info: DeviceInfo) => void;
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
        offset,
        length,
        run: async ({ edge }) => edge.write(offset, from, { fua }),
        apply: (model) => model.write(offset, data),
      };
    }
    case "writeZeroes":
    case "unmap": {
      const options = { unmap: kind === "unmap", fua: random.below(8) === 0 };
      return {
        text,
        offset,
        length,
        run: async ({ edge }) => edge.writeZeroes(offset, length, options),
        apply: (model) => model.zero(offset, length),
      };
    }
    case "discard":
      return {
        text,
        offset,
        length,
        run: async ({ edge }) => edge.discard(offset, length),
        apply: (model, now) => model.discard(offset, length, now),
      };
    case "flush":
      return { text: "flush", offset: 0, length: 0, run: async ({ edge }) => edge.flush(), apply: () => {} };
    default: {
      const buffer = new Uint8Array(length);
      const into = random.pieces(buffer);
      return {
        text,
        offset,
        length: 0,
        run: async ({ edge }) => edge.read(offset, into),
        apply: (model) => model.check(offset, buffer, text),
      };
    }
  }
}
