import type { BlockNode } from "@blockmirror/block-driver";

/** How a commit differs from a mirror. */
export interface FoldInit {
  /** What the layers above this node hold is copied. */
  readonly base: BlockNode;
  /**
   * Set when nobody writes to the source, because others stand on it: the job ends when everything is copied, without
   * READY, and makes those record the base as their backing file before they are led there.
   */
  readonly record?: () => Promise<void>;
  /** Makes them record what they did before. */
  readonly unrecord?: () => Promise<void>;
  /** Called at the instant of the switch, before the guests come to the base. */
  readonly letGo: () => void;
  /** Called on every exit path, when the job claims nothing any more. */
  readonly clean: (switched: boolean) => Promise<void>;
  /** Called at the instant at which the job has left the source, so that nobody finds it unused and yet open. */
  readonly left: (switched: boolean) => Promise<void>;
}
