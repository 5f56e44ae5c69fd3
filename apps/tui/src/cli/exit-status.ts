/** Exit statuses of the program; scripts depend on them. */
export const EXIT = {
  /** Everything asked for was done. */
  done: 0,
  /** The job or check failed, or the images made it impossible. */
  failed: 1,
  /** The command line is wrong; nothing was looked at. */
  usage: 2,
  /** Ended by the user, in order. */
  interrupted: 130,
} as const;

/** A command line that cannot be carried out: one line for the user, exit status 2. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}
