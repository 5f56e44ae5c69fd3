/** The command line cannot be carried out as it stands; nothing is wrong with the images. */
export class UsageError extends Error {
  override readonly name: string = "UsageError";
}
