#!/usr/bin/env bash
# A whole site on this machine, until Ctrl-C. Run it in the folder that has bundles/; what is given goes to each program.
set -euo pipefail
settings=$(cd "$(dirname "$0")" && pwd)
trap exit INT TERM
trap 'kill $(jobs -p) 2>/dev/null; wait' EXIT
python -m broker --settings "$settings/hub.toml" "$@" &
python -m cloud_node --settings "$settings/cloud.toml" "$@" &
python -m edge_node --settings "$settings/edge.toml" "$@" &
python -m iot_node --settings "$settings/device.toml" "$@" &
wait -n
