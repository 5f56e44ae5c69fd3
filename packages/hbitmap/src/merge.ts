import { type Levels, levelAt } from "./levels.ts";
import { popcount, wordAt } from "./words.ts";

/**
 * Sets in `target` every bit set in `source`, which has the same number of bits. Stretches of 1024 bits that
 * are empty in the source cost one look.
 */
export function orLevels(target: Levels, source: Levels): void {
  if (source.dirtyBits === 0 || target === source) return;
  if (target.dirtyBits === 0) {
    for (const [level, words] of source.words.entries()) levelAt(target.words, level).set(words);
    target.dirtyBits = source.dirtyBits;
    return;
  }
  const from = source.finest;
  const into = target.finest;
  const parents = source.words[1];
  let added = 0;
  for (let start = 0; start < from.length; start += 32) {
    if (parents !== undefined && wordAt(parents, start >>> 5) === 0) continue;
    const end = Math.min(start + 32, from.length);
    for (let index = start; index < end; index += 1) {
      const before = wordAt(into, index);
      const fresh = wordAt(from, index) & ~before;
      if (fresh === 0) continue;
      into[index] = before | fresh;
      added += popcount(fresh);
    }
  }
  target.dirtyBits += added;
  orCoarser(target, source);
}

/** A word of the union is not zero exactly when one of the two was, so coarser levels are a plain OR too. */
function orCoarser(target: Levels, source: Levels): void {
  for (let level = 1; level < target.words.length; level += 1) {
    const into = levelAt(target.words, level);
    const from = levelAt(source.words, level);
    for (let index = 0; index < from.length; index += 1) {
      into[index] = wordAt(into, index) | wordAt(from, index);
    }
  }
}
