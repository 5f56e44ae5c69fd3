/** Images or a system that cannot be used as asked. The message is one line, says why, and what to do. */
export class RequestError extends Error {
  override readonly name: string = "RequestError";
}
