/** How long is too long; far beyond what a loaded machine needs, since it only ends what would never happen. */
const DEADLINE_MS = 45_000;
const POLL_MS = 10;

/** Waits until a condition holds, asking again and again; fails with `describe()` when it never does. */
export async function waitFor(condition: () => boolean, describe: () => string): Promise<void> {
  const deadline = Date.now() + DEADLINE_MS;
  while (!condition()) {
    if (Date.now() > deadline) throw new Error(`condition never held; last seen:\n${describe()}`);
    await new Promise((resolve) => {
      setTimeout(resolve, POLL_MS);
    });
  }
}
