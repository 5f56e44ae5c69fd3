/**
 * Stops reading a stream that nobody listens to any more, until somebody listens again. Taking the listener away alone leaves
 * a read under way: of a terminal it takes the next keys, which are another program's when it has been lent.
 */
export async function stopReading(stdin: NodeJS.ReadStream): Promise<void> {
  // That the listener is gone takes effect in the next turn, and so does the pause.
  await nextTurn();
  stdin.pause();
  await nextTurn();
}

function nextTurn(): Promise<void> {
  return new Promise((resolve) => {
    setImmediate(resolve);
  });
}
