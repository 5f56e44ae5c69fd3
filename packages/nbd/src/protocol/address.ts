/** Where a server listens: a TCP host and port, or the path of a Unix socket. */
export type NbdAddress = { readonly host: string; readonly port: number } | { readonly path: string };
