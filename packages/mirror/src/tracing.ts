import { channel, type Channel } from "node:diagnostics_channel";

/**
 * Names of the tracing points of a mirror (`node:diagnostics_channel`), and what their messages hold. They follow the trace
 * events of the block mirror, row by row; nobody pays for a point that nobody listens to.
 *
 * Positions and lengths are bytes.
 */
export interface MirrorTraceMessages {
  /** The job was created and has not begun. */
  readonly start: { readonly job: string; readonly source: string; readonly target: string };
  /** The walk over the dirty chunks begins again at offset 0. */
  readonly restart_iter: { readonly job: string; readonly dirtyBytes: number };
  /** Everything dirty is in flight, or in the hands of a guest. */
  readonly yield_in_flight: { readonly job: string; readonly inFlightOperations: number };
  /** There is no buffer for another operation. */
  readonly yield_buf_busy: { readonly job: string; readonly inFlightOperations: number };
  /** A run of dirty chunks was cut short for lack of buffers. */
  readonly break_buf_busy: { readonly job: string; readonly offset: number; readonly length: number };
  /** A copy or zero operation is submitted. */
  readonly one_iteration: {
    readonly job: string;
    readonly offset: number;
    readonly length: number;
    readonly zero: boolean;
  };
  /** It has ended; `error` is absent when it succeeded. */
  readonly iteration_done: {
    readonly job: string;
    readonly offset: number;
    readonly length: number;
    readonly error?: unknown;
  };
  /** The loop waits for an operation to end. */
  readonly yield: { readonly job: string; readonly inFlightOperations: number; readonly dirtyBytes: number };
  /** Nothing is dirty: the target is flushed. */
  readonly before_flush: { readonly job: string };
  /** Guests are about to be held. */
  readonly before_drain: { readonly job: string; readonly dirtyBytes: number };
  /** The loop sleeps; `synced` says that nothing was left to do. */
  readonly before_sleep: { readonly job: string; readonly dirtyBytes: number; readonly synced: boolean };
}

/** A tracing point: its name in `blockmirror:mirror:NAME`. */
export type MirrorTracePoint = keyof MirrorTraceMessages;

/** Name of the diagnostics channel of a tracing point, for `diagnostics_channel.subscribe`. */
export function mirrorTraceChannel(point: MirrorTracePoint): string {
  return `blockmirror:mirror:${point}`;
}

const CHANNELS: Readonly<Record<MirrorTracePoint, Channel>> = {
  start: channel(mirrorTraceChannel("start")),
  restart_iter: channel(mirrorTraceChannel("restart_iter")),
  yield_in_flight: channel(mirrorTraceChannel("yield_in_flight")),
  yield_buf_busy: channel(mirrorTraceChannel("yield_buf_busy")),
  break_buf_busy: channel(mirrorTraceChannel("break_buf_busy")),
  one_iteration: channel(mirrorTraceChannel("one_iteration")),
  iteration_done: channel(mirrorTraceChannel("iteration_done")),
  yield: channel(mirrorTraceChannel("yield")),
  before_flush: channel(mirrorTraceChannel("before_flush")),
  before_drain: channel(mirrorTraceChannel("before_drain")),
  before_sleep: channel(mirrorTraceChannel("before_sleep")),
};

/** Whether somebody listens: ask before a message is made. */
export function isTraced(point: MirrorTracePoint): boolean {
  return CHANNELS[point].hasSubscribers;
}

/** Tells whoever listens. */
export function trace<Point extends MirrorTracePoint>(
  point: Point,
  message: MirrorTraceMessages[Point],
): void {
  CHANNELS[point].publish(message);
}
