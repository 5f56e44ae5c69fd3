/** What `--help` prints. */
export const HELP = `Usage: blockmirror storage-daemon [options]
Serves block nodes, jobs and exports to QMP clients. Options are carried out in their order; their spelling is
qemu-storage-daemon's.

  --blockdev driver=DRIVER,node-name=NAME,...   open a node; or a JSON object
  --chardev socket,id=ID,path=PATH,server=on[,wait=off]
  --chardev socket,id=ID,host=HOST,port=PORT[,server=on]
  --chardev socket,id=ID,path=PATH[,reconnect=SECONDS]   connects, and does so again when it failed or was lost
  --chardev socket,id=ID,fd=NUMBER[,server=on]
  --chardev stdio,id=ID                         where a monitor's clients come from
  --monitor [chardev=]ID[,pretty=on]            serve QMP there
  --nbd-server addr.type=unix,addr.path=PATH    serve exports there; or addr.type=inet,addr.host=HOST,addr.port=PORT
  --export nbd,id=ID,node-name=NODE[,name=NAME][,writable=on]
  --object tls-creds-x509,id=ID,dir=DIR,endpoint=server[,passwordid=ID]
                                                certificates for --nbd-server ...,tls-creds=ID
  --object tls-creds-psk,id=ID,dir=DIR,endpoint=server   the same with keys.psk, the keys that clients share
  --object secret,id=ID,data=TEXT               a password; or file=PATH, format=base64
  --pidfile PATH                                write the process id when everything listens
  --daemonize                                   go to the background when everything listens
  --help, --version

A comma inside of a value is doubled. Sockets are made with mode 0600.
SIGTERM, SIGINT and SIGHUP end jobs and exports in order.
`;
