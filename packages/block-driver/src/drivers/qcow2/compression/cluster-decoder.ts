/** Gets a decoded cluster and its index among the inputs. */
export type TakeCluster = (cluster: Uint8Array, index: number) => void;

/** Decodes the compressed clusters of one image. */
export interface ClusterDecoder {
  /**
   * Decodes a cluster into `cluster`, which has its size. The input may go on behind its stream: the next cluster begins
   * there. Neither may be touched until then; after a failure `cluster` holds anything.
   * @throws Error when the input does not decode to a whole cluster.
   */
  readonly one: (input: Uint8Array, cluster: Uint8Array) => Promise<void>;
  /**
   * Decodes many for less than as many would cost alone, and has each taken. Those that are not taken have to be decoded
   * alone, be it to learn what is wrong with them. Absent where it would not cost less.
   */
  readonly many?: (inputs: readonly Uint8Array[], clusterSize: number, take: TakeCluster) => Promise<void>;
}
