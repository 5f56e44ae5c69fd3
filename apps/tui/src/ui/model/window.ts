/** Part of a list that fits on the screen. */
export interface ListWindow {
  readonly start: number;
  readonly end: number;
}

/**
 * The window of `size` rows around a selection: centred, except at both ends of the list, so that it needs no memory
 * of where it was.
 */
export function windowAround(count: number, selectedIndex: number, size: number): ListWindow {
  const rows = Math.max(0, size);
  const wanted = Math.max(0, selectedIndex) - Math.floor(rows / 2);
  const start = Math.max(0, Math.min(wanted, count - rows));
  return { start, end: Math.min(count, start + rows) };
}
