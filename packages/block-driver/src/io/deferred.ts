/** A promise and the function that fulfils it: `Promise.withResolvers`, which Node 20 lacks. */
export interface Deferred {
  readonly promise: Promise<void>;
  readonly resolve: () => void;
}

function nothing(): void {}

/** Makes a pending {@link Deferred}. */
export function deferred(): Deferred {
  let resolve: () => void = nothing;
  const promise = new Promise<void>((fulfil) => {
    resolve = fulfil;
  });
  return { promise, resolve };
}
