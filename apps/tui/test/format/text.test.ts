import * as fc from "fast-check";
import { describe, expect, test } from "vitest";
import { printable } from "../../src/format/printable.ts";
import stringWidth from "string-width";
import { fit, textWidth, truncateEnd, truncateMiddle, wrapText } from "../../src/format/text.ts";
import { propertySeed } from "../support/seed.ts";

const texts = fc.oneof(fc.string(), fc.string({ unit: "grapheme" }), fc.string({ unit: "binary" }));
const widths = fc.integer({ min: 0, max: 40 });

describe("truncation", () => {
  test("keeps both ends of a path", () => {
    expect(truncateMiddle("/var/lib/images/database.qcow2", 15)).toBe("/var/li…e.qcow2");
    expect(truncateMiddle("short", 15)).toBe("short");
    expect(truncateEnd("mirror-database", 8, "~")).toBe("mirror-~");
  });

  test("never splits a wide character", () => {
    expect(fit("日本語", 4)).toBe("日… ");
    expect(textWidth(fit("日本語", 5))).toBe(5);
  });

  test("never exceeds the width; fit takes exactly the width", () => {
    fc.assert(
      fc.property(texts, widths, (raw, width) => {
        const text = printable(raw);
        expect(textWidth(truncateEnd(text, width))).toBeLessThanOrEqual(width);
        expect(textWidth(truncateMiddle(text, width))).toBeLessThanOrEqual(width);
        expect(textWidth(fit(text, width))).toBe(width);
        expect(textWidth(fit(text, width, "right", "~"))).toBe(width);
      }),
      { seed: propertySeed, numRuns: 2000 },
    );
  });
});

describe("printable", () => {
  test("takes the power out of control sequences in names", () => {
    expect(printable("vm\u001B[2J\r\n\u009B1m\u202Egnp")).toBe("vm?[2J???1m?gnp");
    expect(printable("größe-日本")).toBe("größe-日本");
  });

  test("leaves nothing that a terminal would act on", () => {
    fc.assert(
      fc.property(texts, (text) => {
        expect(printable(text)).not.toMatch(/\p{Cc}|\p{Cs}/u);
      }),
      { seed: propertySeed },
    );
  });
});

describe("wrapText", () => {
  test("breaks at spaces, and inside words that do not fit", () => {
    expect(wrapText("no space left on target", 10)).toEqual(["no space", "left on", "target"]);
    expect(wrapText("abcdefghij", 4)).toEqual(["abcd", "efgh", "ij"]);
    expect(wrapText("", 4)).toEqual([""]);
  });

  test("no line exceeds the width and no word is lost", () => {
    fc.assert(
      fc.property(
        fc.array(fc.stringMatching(/^[a-z]{1,12}$/u)),
        fc.integer({ min: 1, max: 30 }),
        (words, width) => {
          const lines = wrapText(words.join(" "), width);
          for (const line of lines) expect(textWidth(line)).toBeLessThanOrEqual(width);
          expect(lines.join("").replaceAll(" ", "")).toBe(words.join(""));
        },
      ),
      { seed: propertySeed },
    );
  });
});

test("what bars and charts are drawn with is as wide as measured in full", () => {
  const drawn = [0xb7, 0x2014, 0x2026, 0x221e, ...Array.from({ length: 0xa0 }, (_, index) => 0x2500 + index)];
  for (const codePoint of drawn) {
    const character = String.fromCodePoint(codePoint);
    expect({ character, width: textWidth(character) }).toEqual({ character, width: stringWidth(character) });
  }
});
