import { BlockError } from "../../../errors.ts";

/**
 * Commits that closing may take. What the first one unlinks is given back, which the second one writes; that frees nothing
 * more. An image that is still not clean after several times as many never will be.
 */
const MOST_COMMITS = 8;

/** The part of a commit engine that closing needs. */
interface Commits {
  /** Something differs from the file. */
  readonly dirty: boolean;
  flush(): Promise<void>;
}

/** Clusters on their way back. */
interface Returning {
  /** Settles when they have their new refcounts. */
  idle(): Promise<void>;
}

/**
 * Commits until the file holds all metadata, or says why it does not.
 * @throws BlockError what a commit fails with; `EIO` when commits succeed and still leave something to write.
 */
export async function commitUntilClean(commits: Commits, returning: Returning, label: string): Promise<void> {
  for (let count = 0; count < MOST_COMMITS; count += 1) {
    await commits.flush();
    await returning.idle();
    if (!commits.dirty) return;
  }
  throw new BlockError(
    "EIO",
    `${label}: its metadata still differs from the file after ${MOST_COMMITS} commits; check the image before it is used again`,
    { node: label, operation: "close" },
  );
}
