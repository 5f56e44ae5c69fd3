import { PassThroughDevice } from "../../src/io/pass-through.ts";
import {
  DRIVER_CONTRACT_VERSION,
  iovCopy,
  iovLength,
  option,
  optionSchema,
  type BlockChild,
  type BlockDriver,
  type ChildReference,
  type IoVec,
  type MaybePromise,
} from "../../src/index.ts";

/** A change of a file, as it was asked for, or a barrier between changes. */
export type RecordedEvent = (
  | { readonly type: "write"; readonly offset: number; readonly bytes: Uint8Array }
  | { readonly type: "zero"; readonly offset: number; readonly length: number }
  | { readonly type: "resize"; readonly size: number }
  | { readonly type: "flush" }
) & {
  /**
   * Of a change: flushes that had begun when it settled; a later one covers it. Of a flush: its own number among them.
   */
  flushes: number;
};

/** The log of a recording device, in the order of asking; flushes in the order in which they succeeded. */
export class Recording {
  readonly events: RecordedEvent[] = [];
  flushesBegun = 0;
}

interface RecordingOptions {
  readonly file: ChildReference;
  readonly recording: Recording;
}

/** A filter that keeps every change and every flush of its file, to be replayed up to any moment. */
export const recordingDriver: BlockDriver<RecordingOptions> = {
  name: "recording",
  kind: "filter",
  contractVersion: DRIVER_CONTRACT_VERSION,
  options: optionSchema({
    file: option.child("the file"),
    recording: option.json("the log", (value) => {
      if (value instanceof Recording) return value;
      throw new Error("must be a Recording");
    }),
  }),
  async open({ file, recording }, context) {
    return new RecordingDevice(await context.openChild(file, "filtered"), recording);
  },
};

class RecordingDevice extends PassThroughDevice {
  readonly #recording: Recording;

  constructor(child: BlockChild, recording: Recording) {
    super("recording", child);
    this.#recording = recording;
  }

  override write(offset: number, from: IoVec): Promise<void> {
    const bytes = new Uint8Array(iovLength(from));
    iovCopy(from, [bytes]);
    return this.#change({ type: "write", offset, bytes, flushes: Infinity }, () => super.write(offset, from));
  }

  override writeZeroes(offset: number, length: number): Promise<void> {
    return this.#change({ type: "zero", offset, length, flushes: Infinity }, () =>
      super.writeZeroes(offset, length),
    );
  }

  override discard(offset: number, length: number): Promise<void> {
    return this.#change({ type: "zero", offset, length, flushes: Infinity }, () =>
      super.discard(offset, length),
    );
  }

  override resize(size: number): Promise<void> {
    return this.#change({ type: "resize", size, flushes: Infinity }, () => super.resize(size));
  }

  override async flush(): Promise<void> {
    this.#recording.flushesBegun += 1;
    const flushes = this.#recording.flushesBegun;
    await nextTurn();
    await super.flush();
    this.#recording.events.push({ type: "flush", flushes });
  }

  /** Changes take a turn of the event loop, as those of a file do, so that they overlap. */
  async #change(event: RecordedEvent, run: () => MaybePromise<void>): Promise<void> {
    this.#recording.events.push(event);
    await nextTurn();
    await run();
    event.flushes = this.#recording.flushesBegun;
  }
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
