/**
 * Decodes a cluster straight into memory. False when the input did not fill `cluster` in the usual way, which then holds
 * anything: another decoder has to find out what it is.
 */
export type NativeDecoder = (input: Uint8Array, cluster: Uint8Array) => Promise<boolean>;

/** A decoder with a stream that it has to get right before it is believed. */
export interface Candidate {
  readonly decode: NativeDecoder;
  readonly sample: Uint8Array;
  readonly decoded: Uint8Array;
}
