import * as fc from "fast-check";
import { expect, test } from "vitest";
import { ByteQueue } from "../../src/server/byte-queue.ts";

const seed = Number(process.env["BLOCKMIRROR_SEED"] ?? 1);

test("what was pushed comes out in order, however it is cut and taken", () => {
  const step = fc.oneof(
    fc.record({ do: fc.constant("push" as const), length: fc.nat(40) }),
    fc.record({
      do: fc.constantFrom("take" as const, "into" as const, "pieces" as const, "skip" as const),
      length: fc.nat(60),
    }),
  );
  fc.assert(
    fc.property(fc.array(step, { maxLength: 300 }), (steps) => {
      const queue = new ByteQueue();
      let pushed = 0;
      let taken = 0;
      const check = (bytes: Buffer): void => {
        for (const byte of bytes) {
          expect(byte).toBe(taken % 251);
          taken += 1;
        }
      };
      for (const { do: action, length } of steps) {
        const there = pushed - taken;
        if (action === "push") {
          queue.push(Buffer.from(Array.from({ length }, (_, index) => (pushed + index) % 251)));
          pushed += length;
        } else if (action === "skip") {
          const skipped = queue.skip(length);
          expect(skipped).toBe(Math.min(length, there));
          taken += skipped;
        } else if (action === "pieces") {
          const pieces: Buffer[] = [];
          expect(queue.takePieces(length, pieces)).toBe(Math.min(length, there));
          check(Buffer.concat(pieces));
        } else if (length > there) {
          expect(() => queue.take(length)).toThrow(RangeError);
        } else if (action === "take") {
          check(queue.take(length));
        } else {
          const target = Buffer.alloc(length);
          queue.takeInto(target);
          check(target);
        }
        expect(queue.length).toBe(pushed - taken);
      }
    }),
    { seed },
  );
});

test("takes views, not copies, of what one chunk holds", () => {
  const queue = new ByteQueue();
  const chunk = Buffer.from("abcdef");
  queue.push(chunk);
  expect(queue.take(2).buffer).toBe(chunk.buffer);
  const pieces: Buffer[] = [];
  queue.takePieces(10, pieces);
  expect(pieces).toHaveLength(1);
  expect(pieces[0]?.buffer).toBe(chunk.buffer);
  expect(pieces[0]?.toString()).toBe("cdef");
});
