import type { Builtins } from "./builtins.ts";
import type { QmpSchema } from "./definition.ts";

/** TypeScript's view of a type of a schema: `TypeOf<Types, "JobInfo">`, `TypeOf<Types, readonly ["JobInfo"]>`. */
export type TypeOf<Types, Ref> = Ref extends readonly [infer Element]
  ? readonly TypeOf<Types, Element>[]
  : Ref extends keyof Builtins
    ? Builtins[Ref]
    : Ref extends keyof Types
      ? DefinedType<Types, Types[Ref]>
      : never;

type DefinedType<Types, Definition> = Definition extends { readonly enum: readonly (infer Word)[] }
  ? Word
  : Definition extends { readonly alternate: readonly (infer Choice)[] }
    ? AnyOf<Types, Choice>
    : Definition extends { readonly union: infer Cases; readonly tag: infer Tag; readonly base: infer Base }
      ? UnionOf<Types, Cases, Tag, Base>
      : Definition extends { readonly struct: infer Own; readonly base: infer Base }
        ? MembersOf<Types, Own> & TypeOf<Types, Base>
        : Definition extends { readonly struct: infer Own }
          ? MembersOf<Types, Own>
          : never;

type AnyOf<Types, Choice> = Choice extends unknown ? TypeOf<Types, Choice> : never;

type UnionOf<Types, Cases, Tag, Base> = {
  [Case in keyof Cases]: { readonly [Name in Tag & string]: Case } & MembersOf<Types, Base> &
    TypeOf<Types, Cases[Case]>;
}[keyof Cases];

/** TypeScript's view of members: those marked with `?` may be absent. */
export type MembersOf<Types, Members> = {
  readonly [Key in keyof Members as Key extends `${string}?` ? never : Key]: TypeOf<Types, Members[Key]>;
} & {
  readonly [Key in keyof Members as Key extends `${infer Name}?` ? Name : never]?: TypeOf<
    Types,
    Members[Key]
  >;
};

/** A command as its users see it. */
export interface CommandShape {
  readonly arguments: object;
  readonly returns: unknown;
}

/** Commands by name. */
export type CommandMap = { readonly [name: string]: CommandShape };

/** The commands of a schema, with the types of their arguments and results. */
export type CommandsOf<Schema extends QmpSchema> = {
  readonly [Name in keyof Schema["commands"]]: {
    readonly arguments: Schema["commands"][Name]["arguments"] extends string
      ? TypeOf<Schema["types"], Schema["commands"][Name]["arguments"]> & object
      : MembersOf<Schema["types"], Schema["commands"][Name]["arguments"]>;
    readonly returns: TypeOf<Schema["types"], Schema["commands"][Name]["returns"]>;
  };
};

/** The events of a schema, with the types of their data. */
export type EventsOf<Schema extends QmpSchema> = {
  readonly [Name in keyof Schema["events"]]: MembersOf<Schema["types"], Schema["events"][Name]["data"]>;
};
