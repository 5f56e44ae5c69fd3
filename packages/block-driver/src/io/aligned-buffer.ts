/// <reference lib="es2024.arraybuffer" />

/**
 * A buffer for large transfers that starts at a page boundary. The kernel copies to and from such memory about twice as
 * fast as with the small offset that an ordinary allocation has.
 *
 * JavaScript cannot ask for an alignment or learn an address; but a *resizable* array buffer is mapped page by page, where
 * runtimes have them (Node 20 and later). One that cannot grow is otherwise like any other. The content is zero.
 *
 * @param size bytes, 0 or more.
 * @throws RangeError when there is not that much memory.
 */
export function allocateAligned(size: number): Buffer {
  // A view with a fixed length: one that tracks the buffer's length is slower to check.
  return Buffer.from(new ArrayBuffer(size, { maxByteLength: size }), 0, size);
}

/**
 * Reserves memory like that of {@link allocateAligned}, and makes it when it is first asked for: until then it is no more than
 * an address, which neither the system nor the garbage collector counts.
 *
 * @param size bytes, 0 or more.
 * @returns a function that returns the memory, the same one each time. It throws RangeError when there is not that much.
 * @throws RangeError when not even the address is to be had.
 */
export function reserveAligned(size: number): () => Buffer {
  const memory = new ArrayBuffer(0, { maxByteLength: size });
  let buffer: Buffer | undefined;
  return () => {
    if (buffer !== undefined) return buffer;
    memory.resize(size);
    buffer = Buffer.from(memory, 0, size);
    return buffer;
  };
}
