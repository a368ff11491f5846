#!/bin/sh
# Runs Mosquitto on the files of `tiercut certs site`, in any container or on any machine that has a POSIX shell.
#
#     run.sh [CONF]        default: /identity/mosquitto.conf
#
# Waits for its files. Tells Mosquitto to read them again (SIGHUP) when its certificate, its key or the access rules
# have changed: connections stay, and keep to the new rules at once. New authorities are found without that. When one has
# been taken away, Mosquitto is started again, as nothing else makes it forget one: clients come back by themselves, and
# sessions are kept. Ends it on TERM.
#
# Every connection shows its certificate: TLS sessions are not resumed, as a ticket would go on being good when the
# certificate has ended or its authority is no longer trusted. Mosquitto has no setting for that, but OpenSSL reads one.
set -u

CONF=${1:-/identity/mosquitto.conf}
LOOK_S=1
broker=

say() { echo "run.sh: $*"; }

setting() { sed -n "s/^$1 //p" "$CONF" | head -n 1; }

# Of each file: times, size, inode. The same text as long as nobody has written any of them.
look() { ls -lnLi --full-time "$@" 2>/dev/null || ls -lnLi "$@" 2>/dev/null; }

start() {
    OPENSSL_CONF=/dev/fd/3 mosquitto -c "$CONF" 3<<EOF &
openssl_conf = all
[all]
ssl_conf = ssl
[ssl]
system_default = no_tickets
[no_tickets]
Options = -SessionTicket
NumTickets = 0
EOF
    broker=$!
}

finish() {
    trap '' TERM INT
    if [ -n "$broker" ]; then
        kill -TERM "$broker" 2>/dev/null
        wait "$broker"
    fi
    exit 0
}
trap finish TERM INT

told=
until [ -r "$CONF" ] && cert=$(setting certfile) && key=$(setting keyfile) && rules=$(setting acl_file) &&
    authorities=$(setting capath) && [ -r "$cert" ] && [ -r "$key" ] && [ -r "$rules" ] && [ -d "$authorities" ]; do
    [ -n "$told" ] || say "waiting for $CONF and the files that it names"
    told=yes
    sleep "$LOOK_S" &
    wait $!
done

read_last=$(look "$cert" "$key" "$rules")
pair_seen=$(look "$cert" "$key")
trusted=$(ls "$authorities")
start
while kill -0 "$broker" 2>/dev/null; do
    sleep "$LOOK_S" &
    wait $!
    gone=
    for each in $trusted; do
        [ -e "$authorities/$each" ] || gone=$each
    done
    trusted=$(ls "$authorities")
    now=$(look "$cert" "$key" "$rules")
    pair=$(look "$cert" "$key")
    if [ -n "$gone" ]; then
        say "an authority is no longer trusted: starting again"
        kill -TERM "$broker"
        wait "$broker"
        read_last=$now
        start
    elif [ "$now" != "$read_last" ] && [ "$pair" = "$pair_seen" ]; then # else somebody may be writing the pair
        say "new certificate or access rules"
        kill -HUP "$broker"
        read_last=$now
    fi
    pair_seen=$pair
done
wait "$broker"
status=$?
say "mosquitto has ended with status $status"
exit "$status"
