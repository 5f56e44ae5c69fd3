/** What a terminal acts on instead of showing: control characters, line separators, and changes of direction. */
const UNPRINTABLE = /[\p{Cc}\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/**
 * Text in one line, fit for a terminal: what is not shown as it is becomes an escape such as `\u{1b}`. Names come from
 * images, and images come from anywhere.
 */
export function printable(text: string): string {
  return text.replaceAll(UNPRINTABLE, (character) => `\\u{${(character.codePointAt(0) ?? 0).toString(16)}}`);
}
