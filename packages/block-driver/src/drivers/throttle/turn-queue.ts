/** Items that wait, in the order of their owners' turns: one item of one owner, then one of the next. */
export class TurnQueue<Owner, Item> {
  /** A map keeps the order of insertion, which is the order of turns. No owner is here without an item. */
  readonly #items = new Map<Owner, Item[]>();

  get isEmpty(): boolean {
    return this.#items.size === 0;
  }

  /** Adds an item behind the owner's others. An owner without one gets its turn after everybody else. */
  push(owner: Owner, item: Item): void {
    const items = this.#items.get(owner);
    if (items === undefined) this.#items.set(owner, [item]);
    else items.push(item);
  }

  /** Takes the item whose turn it is. */
  shift(): Item | undefined {
    for (const [owner, items] of this.#items) {
      const item = items.shift();
      this.#items.delete(owner);
      if (items.length > 0) this.#items.set(owner, items);
      return item;
    }
    return undefined;
  }

  /** Takes one item of an owner's out of its place, if it is there. */
  remove(owner: Owner, item: Item): void {
    const items = this.#items.get(owner) ?? [];
    const index = items.indexOf(item);
    if (index < 0) return;
    items.splice(index, 1);
    if (items.length === 0) this.#items.delete(owner);
  }

  /** Takes all items of an owner. */
  removeAll(owner: Owner): readonly Item[] {
    const items = this.#items.get(owner) ?? [];
    this.#items.delete(owner);
    return items;
  }
}
