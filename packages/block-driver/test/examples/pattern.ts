import {
  BYTE_ALIGNMENT,
  DEFAULT_LIMITS,
  DRIVER_CONTRACT_VERSION,
  ExtentFlag,
  option,
  optionSchema,
  READ_ONLY_CAPABILITIES,
  type BlockDriver,
} from "../../src/index.ts";

export interface PatternOptions {
  readonly size: number;
  readonly seed: number;
}

/** A disk whose bytes follow from their offset: `(offset + seed) % 251`. */
export const patternDriver: BlockDriver<PatternOptions> = {
  name: "pattern",
  kind: "protocol",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    size: option.bytes("size of the disk"),
    seed: option.integer("added to every offset", 0),
  }),
  open: async ({ size, seed }, context) => ({
    info: {
      driver: "pattern",
      label: context.nodeName,
      size,
      readOnly: true,
      align: BYTE_ALIGNMENT,
      max: DEFAULT_LIMITS,
      can: READ_ONLY_CAPABILITIES,
    },
    read(offset, into) {
      let at = offset + seed;
      for (const piece of into) {
        for (let index = 0; index < piece.byteLength; index += 1, at += 1) piece[index] = at % 251;
      }
    },
    status(offset, length, extents) {
      extents.reset(offset);
      extents.append(length, ExtentFlag.Data);
    },
    close: async () => {},
  }),
};
