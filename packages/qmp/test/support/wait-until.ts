/** Lets the event loop turn until something is so. Fails after many turns rather than after a time. */
export async function waitUntil(isSo: () => boolean): Promise<void> {
  for (let turn = 0; turn < 100_000; turn += 1) {
    if (isSo()) return;
    await new Promise((resolve) => setImmediate(resolve));
  }
  throw new Error(`Waited in vain for: ${String(isSo)}`);
}
