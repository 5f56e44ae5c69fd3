import { printable } from "../../format/printable.ts";

/** A one-line text being edited. `cursor` counts UTF-16 units and never stands inside a surrogate pair. */
export interface TextField {
  readonly text: string;
  readonly cursor: number;
  /** The text is only a proposal: the first thing typed takes its place, any other key keeps it for editing. */
  readonly proposed?: true;
}

/** Editing steps, named after what they do. */
export type TextEdit =
  | { readonly kind: "insert"; readonly text: string }
  | {
      readonly kind:
        | "backspace"
        | "delete"
        | "left"
        | "right"
        | "home"
        | "end"
        | "clear-before"
        | "delete-word";
    };

/** A field holding `text` with the cursor behind it. */
export function textField(text = ""): TextField {
  return { text, cursor: text.length };
}

/** A field that proposes `text`. */
export function proposal(text: string): TextField {
  return text === "" ? textField() : { ...textField(text), proposed: true };
}

function previous(field: TextField): number {
  const before = Array.from(field.text.slice(0, field.cursor)).at(-1) ?? "";
  return field.cursor - before.length;
}

function next(field: TextField): number {
  const after = Array.from(field.text.slice(field.cursor))[0] ?? "";
  return field.cursor + after.length;
}

function splice(field: TextField, from: number, until: number, inserted: string): TextField {
  return {
    text: field.text.slice(0, from) + inserted + field.text.slice(until),
    cursor: from + inserted.length,
  };
}

/** Applies one editing step. Line ends and control characters never get in. */
export function editText(field: TextField, edit: TextEdit): TextField {
  const { text, cursor } = field;
  switch (edit.kind) {
    case "insert":
      if (field.proposed === true) return editText(textField(), edit);
      return splice(field, cursor, cursor, printable(edit.text.replace(/[\r\n\t]+/gu, " ")));
    case "backspace":
      return splice(field, previous(field), cursor, "");
    case "delete":
      return splice(field, cursor, next(field), "");
    case "left":
      return { text, cursor: previous(field) };
    case "right":
      return { text, cursor: next(field) };
    case "home":
      return { text, cursor: 0 };
    case "end":
      return { text, cursor: text.length };
    case "clear-before":
      return splice(field, 0, cursor, "");
    case "delete-word": {
      const kept = text.slice(0, cursor).replace(/\S*\s*$/u, "");
      return splice(field, kept.length, cursor, "");
    }
  }
}
