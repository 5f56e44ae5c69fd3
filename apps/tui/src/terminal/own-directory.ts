import { mkdirSync } from "node:fs";
import { RequestError } from "../engine/request-error.ts";

/**
 * Makes a directory for the user alone, unless it is there.
 * @param variable the environment variable that puts it elsewhere.
 * @throws RequestError when it cannot be made.
 */
export function makeOwnDirectory(directory: string, variable: string): void {
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (error) {
    const reason = error instanceof Error && "code" in error ? String(error.code) : String(error);
    throw new RequestError(
      `the directory ${directory} cannot be made (${reason}); set ${variable} to one that you may write`,
    );
  }
}
