import * as fc from "fast-check";
import headless from "@xterm/headless";
import { describe, expect, test } from "vitest";
import { type Line, lineText, lineWidth, segment, sliceLine } from "../../src/ui/draw/line.ts";
import { ScreenWriter } from "../../src/ui/screen-writer.ts";
import { themeOf, type Tone } from "../../src/ui/theme.ts";
import { readScreen } from "../support/fake-terminal.ts";
import { propertySeed } from "../support/seed.ts";

const COLUMNS = 24;
const ROWS = 4;
const ESCAPE = "\u001B";

/** A terminal that a writer writes to. */
class Rig {
  readonly model = new headless.Terminal({ cols: COLUMNS, rows: ROWS, allowProposedApi: true });
  readonly writer: ScreenWriter;
  written: string[] = [];

  constructor(color = true) {
    this.writer = new ScreenWriter({ write: (text) => this.written.push(text) }, themeOf("default"), color);
  }

  /** Draws, and returns what the terminal shows. */
  async show(picture: readonly Line[]): Promise<string> {
    this.written = [];
    this.writer.draw(picture, COLUMNS);
    for (const text of this.written) await new Promise<void>((done) => this.model.write(text, done));
    return readScreen(this.model).replaceAll(/ +$/gmu, "");
  }
}

function textOf(picture: readonly Line[]): string {
  return Array.from({ length: ROWS }, (_, row) => lineText(picture[row] ?? []).trimEnd()).join("\n");
}

const word = fc.constantFrom("a", "bc ", "   ", "▊░", "12.5", "→", "漢", "é", "");
const tone = fc.constantFrom<Tone>("plain", "strong", "failure", "selection", "dim");
const line = fc
  .array(fc.tuple(word, tone), { maxLength: 8 })
  .map((parts) => parts.map(([text, name]) => segment(text, name)));
const picture = fc.array(line, { maxLength: ROWS });

describe("what is on the terminal", () => {
  test("is the last picture, whatever was there before", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(picture, { minLength: 1, maxLength: 5 }), async (pictures) => {
        const rig = new Rig();
        for (const each of pictures) expect(await rig.show(each)).toBe(textOf(each));
      }),
      { seed: propertySeed, numRuns: 200 },
    );
  });

  test("is written once: the same picture again writes nothing", async () => {
    const rig = new Rig();
    const shown = [[segment("one", "strong")], [segment("two")]];
    await rig.show(shown);
    await rig.show([[segment("one", "strong")], [segment("two")]]);
    expect(rig.written).toEqual([]);
  });

  test("changes from the first stretch that differs, in its row alone", async () => {
    const rig = new Rig(false);
    await rig.show([[segment("steady")], [segment("left ", "strong"), segment("old", "dim")]]);
    await rig.show([[segment("steady")], [segment("left ", "strong"), segment("new", "dim")]]);
    expect(rig.written).toEqual([`${ESCAPE}[?2026h${ESCAPE}[2;6Hnew${ESCAPE}[K${ESCAPE}[?2026l`]);
  });

  test("a full last column stays: nothing is erased behind it", async () => {
    const rig = new Rig();
    const full = "x".repeat(COLUMNS);
    expect(await rig.show([[segment(full)]])).toBe(textOf([[segment(full)]]));
    expect(rig.written.join("")).not.toContain(`${ESCAPE}[K`);
  });

  test("is written in full after it was forgotten", async () => {
    const rig = new Rig();
    const shown = [[segment("mine")]];
    await rig.show(shown);
    await new Promise<void>((done) => rig.model.write(`${ESCAPE}[3;1Hsomebody else`, done));
    rig.writer.forget();
    expect(await rig.show(shown)).toBe(textOf(shown));
  });

  test("has no style at all without colours", async () => {
    const rig = new Rig(false);
    await rig.show([[segment("a", "failure"), segment("b", "selection")]]);
    // oxlint-disable-next-line no-control-regex
    expect(rig.written.join("")).not.toMatch(/\u001B\[[\d;]*m/u);
  });
});

describe("a slice of a line", () => {
  test("takes exactly its columns, and three slices are the line", () => {
    fc.assert(
      fc.property(line, fc.nat(12), fc.nat(12), (whole, one, other) => {
        const [from, until] = [Math.min(one, other), Math.max(one, other)];
        expect(lineWidth(sliceLine(whole, from, until))).toBe(until - from);
        const narrow = whole.filter(({ text }) => text !== "漢");
        const parts = [
          sliceLine(narrow, 0, from),
          sliceLine(narrow, from, until),
          sliceLine(narrow, until, COLUMNS),
        ];
        expect(parts.map(lineText).join("")).toBe(lineText(narrow).padEnd(COLUMNS));
      }),
      { seed: propertySeed },
    );
  });

  test("leaves a blank for half a wide character", () => {
    expect(lineText(sliceLine([segment("a漢b")], 0, 2))).toBe("a ");
    expect(lineText(sliceLine([segment("a漢b")], 2, 4))).toBe(" b");
  });
});
