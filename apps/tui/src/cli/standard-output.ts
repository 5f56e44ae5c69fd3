type Listener = (error: NodeJS.ErrnoException) => void;

const listeners = new Set<Listener>();
let lost: NodeJS.ErrnoException | undefined;

/**
 * Keeps a reader that went away (`| head -1`) or a full disk behind a redirection from ending the program with a stack
 * trace. What it means is decided by whoever listens with {@link onOutputLost}; for a help text it means nothing.
 */
export function watchOutput(): void {
  process.stdout.on("error", (error: NodeJS.ErrnoException) => {
    // Every later write fails as well; it is told once.
    if (lost !== undefined) return;
    lost = error;
    for (const listener of listeners) listener(error);
  });
  // There is nobody left to tell.
  process.stderr.on("error", () => {});
}

/**
 * Why what was written so far is not there, a full disk say; undefined while all is well, or where it is only that nobody reads on.
 * To be asked when everything was written.
 */
export async function outputFailure(): Promise<Error | undefined> {
  // The write of a file fails at once, and is told in the next turn.
  await new Promise((resolve) => {
    setImmediate(resolve);
  });
  return lost?.code === "EPIPE" ? undefined : lost;
}

/** Calls `listener` once when standard output can no longer be written. Returns the function that ends it. */
export function onOutputLost(listener: Listener): () => void {
  if (lost !== undefined) listener(lost);
  listeners.add(listener);
  return () => listeners.delete(listener);
}
