/** Whether every character takes one column and means nothing to a terminal. */
function isPlainAscii(text: string): boolean {
  for (let index = 0; index < text.length; index++) {
    const code = text.charCodeAt(index);
    if (code < 0x20 || code > 0x7e) return false;
  }
  return true;
}

// Anything that could move the cursor, change colours or reorder text: C0, DEL, C1, line separators, bidi controls,
// and lone surrogates.
const UNPRINTABLE = /[\p{Cc}\p{Cs}\p{Zl}\p{Zp}\p{Bidi_Control}\ufeff]/gu;

/** Names come from files and from other machines: shows each unprintable character as `?`. */
export function printable(text: string): string {
  return isPlainAscii(text) ? text : text.replace(UNPRINTABLE, "?");
}
