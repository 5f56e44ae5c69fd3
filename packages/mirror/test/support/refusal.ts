import { BlockError, type BlockErrorCode } from "@blockmirror/block-driver";

/** The code that something is refused with. */
export async function refusal(run: () => unknown): Promise<BlockErrorCode> {
  try {
    await run();
  } catch (error) {
    if (error instanceof BlockError) return error.code;
    throw error;
  }
  throw new Error("expected a refusal");
}
