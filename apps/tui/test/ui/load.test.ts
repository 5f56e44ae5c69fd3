import { expect, test } from "vitest";
import { renderTui } from "../support/render-tui.ts";

test("five hundred jobs at ten updates a second cost one frame per tick, not one per event", async () => {
  const tui = renderTui({
    columns: 200,
    rows: 50,
    setup: (source) => {
      for (let index = 0; index < 500; index++) {
        source.add({ id: `job-${index}`, size: 2 ** 34, copyRateBytesPerSec: 2 ** 20 * (index + 1) });
      }
    },
  });
  try {
    await tui.waitFor("500 running");
    let heard = 0;
    tui.source.subscribe(() => heard++);
    const before = tui.terminal.written.length;
    const framesBefore = tui.terminal.written.split("\u001B[?2026h").length;
    tui.advance(10_000);
    await tui.waitFor(/00:00:1[23]/u);
    expect(heard).toBeGreaterThanOrEqual(100);
    // Ten ticks at one per second; the rest of the updates must not have drawn anything.
    expect(tui.terminal.written.split("\u001B[?2026h").length - framesBefore).toBeLessThanOrEqual(11);
    // Only what changed is written, and only for the rows on the screen.
    expect(tui.terminal.written.length - before).toBeLessThan(11 * 200 * 50);
  } finally {
    await tui.close();
  }
});
