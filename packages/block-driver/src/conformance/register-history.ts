/** One settled request on one byte: what it wrote or read, and when it began and ended. */
export interface RegisterEvent {
  readonly kind: "read" | "write";
  readonly value: number;
  readonly start: number;
  readonly end: number;
}

interface Zone {
  readonly value: number;
  readonly from: number;
  readonly to: number;
  /** The value must have been there from `from` to `to`; otherwise it was there at some instant between them. */
  readonly forward: boolean;
}

/**
 * Whether a history of one byte can be put into an order in which every read finds the last value written, and in which
 * nothing moves before what had ended when it began. Every value is written once, which makes this easy to decide: look at
 * the time each value must have been there, and whether two of those overlap.
 *
 * @returns undefined when it can, otherwise what contradicts it.
 */
export function contradiction(history: readonly RegisterEvent[]): string | undefined {
  const byValue = new Map<number, RegisterEvent[]>();
  for (const event of history) {
    const events = byValue.get(event.value);
    if (events === undefined) byValue.set(event.value, [event]);
    else events.push(event);
  }
  const zones: Zone[] = [];
  for (const [value, events] of byValue) {
    const write = events.find((event) => event.kind === "write");
    if (write === undefined) return `the value ${value} was read and never written`;
    if (events.some((event) => event.end < write.start))
      return `the value ${value} was read before it was written`;
    const firstEnd = Math.min(...events.map((event) => event.end));
    const lastStart = Math.max(...events.map((event) => event.start));
    zones.push({
      value,
      from: Math.min(firstEnd, lastStart),
      to: Math.max(firstEnd, lastStart),
      forward: firstEnd < lastStart,
    });
  }
  for (const zone of zones.filter(({ forward }) => forward)) {
    for (const other of zones) {
      if (other === zone) continue;
      const clash = other.forward
        ? zone.from < other.to && other.from < zone.to
        : zone.from < other.from && other.to < zone.to;
      if (clash) return `the value ${zone.value} was there at times when ${other.value} must have been`;
    }
  }
  return undefined;
}
