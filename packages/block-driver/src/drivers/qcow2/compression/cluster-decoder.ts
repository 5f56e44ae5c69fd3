/** Gets a decoded cluster and its index among the inputs. */
export type TakeCluster = (cluster: Uint8Array, index: number) => void;

/** Decodes the compressed clusters of one image. */
export interface ClusterDecoder {
  /**
   * Decodes a cluster. The input may go on behind its stream: the next cluster begins there.
   * @throws Error when the input does not decode to a whole cluster.
   */
  readonly one: (input: Uint8Array) => Promise<Uint8Array>;
  /**
   * Decodes many for less than as many would cost alone, and has each taken. Those that are not taken have to be decoded
   * alone, be it to learn what is wrong with them. Absent where only `one` is possible.
   */
  readonly many?: (inputs: readonly Uint8Array[], take: TakeCluster) => Promise<void>;
}
