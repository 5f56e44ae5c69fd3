import { BlockError } from "@blockmirror/block-driver";

/** Something to do on the way out. */
export type Step = () => Promise<void> | void;

/**
 * Does every step in order, whatever those before it met: each of them takes back something else.
 * @throws what the first one that failed met; with what the others met, if there were more.
 */
export async function everyStep(steps: readonly Step[]): Promise<void> {
  const failures = await tryAll(steps);
  if (failures.length > 0) throw together(failures, "; ");
}

/**
 * Takes back what was done before `error`, the last of it first; every step is tried.
 * @returns what is to be thrown: the error itself, and what could not be taken back, if anything.
 */
export async function takeBack(done: readonly Step[], error: unknown): Promise<unknown> {
  const failures = await tryAll(done.toReversed());
  return together([error, ...failures], "; besides, not everything could be put back: ");
}

async function tryAll(steps: readonly Step[]): Promise<readonly unknown[]> {
  const failures: unknown[] = [];
  for (const step of steps) {
    try {
      await step();
    } catch (error) {
      failures.push(error);
    }
  }
  return failures;
}

/** The first error speaks for all: its code, and the messages of all of them. */
function together(errors: readonly unknown[], link: string): unknown {
  const [first, ...others] = errors;
  if (others.length === 0) return first;
  const about = first instanceof BlockError ? first : undefined;
  return new BlockError(
    about?.code ?? "EIO",
    `${messageOf(first)}${link}${others.map(messageOf).join("; ")}`,
    {
      ...(about?.node !== undefined && { node: about.node }),
      ...(about?.operation !== undefined && { operation: about.operation }),
      cause: new AggregateError(errors),
    },
  );
}

function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
