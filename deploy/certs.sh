#!/bin/sh
# What the service `certs` of compose.yaml runs at each start: makes what is missing, renews what ends soon, and leaves
# the rest as it is. CERTS: more flags, for one's own nodes and sensors (.env: TIERCUT_CERTS="--sensors porch=porch/camera").
set -eu
# shellcheck disable=SC2086 # CERTS is a list of words
exec tiercut certs site /pki --site home --cloud-site cloud --bus-data /data \
  --devices "${DEVICES:-camera-1,camera-2,camera-3,camera-4,camera-5,camera-6}" --edges "${EDGES:-8}" \
  --clouds cloud-1,cloud-2 \
  --sensors doorbell=frigate/doorbell/snapshot --sensors watch=watch/motion ${CERTS:-}
