#!/bin/sh
# Slows this container's ways to other hosts, then becomes the node, without root: TIERCUT_SLOWED="site-bus=5 cloud-bus=20"
# slows what is sent to each to so many Mbit/s; nothing after "=": as it is.
set -eu
for pair in ${TIERCUT_SLOWED:-}; do
  host=${pair%%=*} mbps=${pair#*=}
  [ -n "$mbps" ] || continue
  tries=0
  until address=$(getent ahostsv4 "$host" | awk 'NR == 1 { print $1 }') && [ -n "$address" ]; do
    tries=$((tries + 1))
    [ "$tries" -lt 300 ] || { echo "links.sh: no host '$host' after 60 s: its link cannot be slowed" >&2; exit 1; }
    sleep 0.2
  done
  device=$(ip route get "$address" | sed -n 's/.* dev \([^ ]*\) .*/\1/p')
  # Two full packets deep, so that nothing passes faster; a queue so long that nothing is dropped.
  tc qdisc replace dev "$device" root tbf rate "${mbps}mbit" burst 3028 limit 67108864
  echo "links.sh: $mbps Mbit/s to $host ($device)" >&2
done
exec setpriv --reuid 10001 --regid 10001 --clear-groups --inh-caps=-all -- "$@"
