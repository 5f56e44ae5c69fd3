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

/** Calls `listener` once when standard output can no longer be written. Returns the function that ends it. */
export function onOutputLost(listener: Listener): () => void {
  if (lost !== undefined) listener(lost);
  listeners.add(listener);
  return () => listeners.delete(listener);
}
