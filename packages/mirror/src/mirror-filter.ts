import { PassThroughDevice, type BlockChild } from "@blockmirror/block-driver";

/** Driver name of the filter node that a mirror puts above its source. */
export const MIRROR_FILTER_DRIVER = "mirror_top";

/**
 * The device of the node above the source, through which every guest request passes. In background mode it only forwards:
 * the node's dirty bitmap, attached before the first status query (mirror rule S2.6), sees every write as it settles.
 */
export class MirrorFilter extends PassThroughDevice {
  constructor(source: BlockChild) {
    super(MIRROR_FILTER_DRIVER, source);
  }
}
