/** Lets the event loop turn until something is the case. */
export async function until(isSo: () => boolean, eachTurn: () => void = () => undefined): Promise<void> {
  while (!isSo()) {
    await new Promise((resolve) => setImmediate(resolve));
    eachTurn();
  }
}

/** Lets the event loop turn that often. */
export async function turns(count: number): Promise<void> {
  let left = count;
  await until(
    () => left === 0,
    () => (left -= 1),
  );
}
