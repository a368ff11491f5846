# All images of a site, one stage per role: device, edge, cloud, cloud-gpu, hub, tools, sensors. compose.yaml builds those it needs.
#
# Stages that only build: packages (the environment), project (this code), models (some to start with; the one stage that
# needs torch), photographs. What a role runs never has torch, a compiler or tests in it.

# ---------------------------------------------------------------- what every node needs, installed once
FROM python:3.11-slim AS packages
WORKDIR /src
RUN python -m venv --without-pip /opt/tiercut
# pyproject.toml alone, so that a change of the code installs nothing again.
COPY pyproject.toml constraints.txt ./
# By variable, which also wins over a constraint in a pip.conf of the machine that builds.
ENV PIP_CONSTRAINT=/src/constraints.txt
RUN touch README.md LICENSE \
 && pip --python /opt/tiercut/bin/python install --no-cache-dir . \
 && pip --python /opt/tiercut/bin/python uninstall --yes tiercut \
 && find /opt/tiercut -type d -name tests -prune -exec rm -r {} + \
 && rm -r /opt/tiercut/lib/python3*/site-packages/onnx/backend/test/data

# ---------------------------------------------------------------- this project, in an environment of its own
FROM python:3.11-slim AS project
WORKDIR /src
COPY constraints.txt ./
ENV PIP_CONSTRAINT=/src/constraints.txt
RUN python -m venv --without-pip /opt/tiercut && pip install --no-cache-dir "setuptools>=77" wheel
COPY pyproject.toml README.md LICENSE ./
COPY tiercut tiercut
COPY broker broker
COPY iot_node iot_node
COPY edge_node edge_node
COPY cloud_node cloud_node
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation --wheel-dir /dist . \
 && pip --python /opt/tiercut/bin/python install --no-cache-dir --no-deps --no-index /dist/*.whl

# ---------------------------------------------------------------- what all roles are
FROM python:3.11-slim AS base
RUN useradd --system --uid 10001 --no-create-home --shell /usr/sbin/nologin tiercut \
 && install -d -o 10001 -g 10001 -m 0700 /identity /identities /acl \
 && install -d -o 10001 -g 10001 -m 1777 /var/lib/tiercut
COPY --from=packages /opt/tiercut /opt/tiercut
COPY --from=project /opt/tiercut /opt/tiercut
ENV PATH=/opt/tiercut/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    TIERCUT_BUNDLES=/var/lib/tiercut/bundles \
    TIERCUT_PROFILES=/var/lib/tiercut/profiles \
    TIERCUT_HEARTBEAT=/tmp/heartbeat \
    ORT_DISABLE_TELEMETRY=1
WORKDIR /var/lib/tiercut
USER 10001:10001

# ---------------------------------------------------------------- photographs for cameras without a lens
FROM python:3.11-slim AS photographs
COPY constraints.txt /src/
ENV PIP_CONSTRAINT=/src/constraints.txt
RUN pip download --no-cache-dir --no-deps --dest /tmp/wheel scikit-image \
 && python -m zipfile -e /tmp/wheel/*.whl /tmp/wheel \
 && install -D -m 0644 -t /photographs $(for name in chelsea.png coffee.png motorcycle_left.png rocket.jpg \
    astronaut.png camera.png; do echo /tmp/wheel/skimage/data/$name; done)

# ---------------------------------------------------------------- models to start with
FROM packages AS models
# torch's own index has its CPU build; PyPI's brings gigabytes of CUDA. Empty: only the usual index.
ARG TORCH_INDEX=https://download.pytorch.org/whl/cpu
RUN PIP_EXTRA_INDEX_URL="${TORCH_INDEX} ${PIP_EXTRA_INDEX_URL}" \
    pip --python /opt/tiercut/bin/python install --no-cache-dir --no-compile ".[demo]" \
 && pip --python /opt/tiercut/bin/python uninstall --yes tiercut \
 && pip --python /opt/tiercut/bin/python install --no-cache-dir --no-compile --no-deps silero-vad seglearn
COPY --from=project /opt/tiercut /opt/tiercut
COPY examples/wearable examples/wearable
COPY deploy/sensors/messages.py ./
ENV PATH=/opt/tiercut/bin:$PATH
RUN tiercut export tiercut.zoo.efficientnet_lite0:model --out bundles/efficientnet-lite0 \
 && tiercut export tiercut.zoo.silero_vad:model --out bundles/silero-vad \
 && python -m examples.wearable.train && python -m examples.wearable.recording \
 && python messages.py recordings/exercises.csv > watch.jsonl

# ---------------------------------------------------------------- the roles
FROM base AS edge
CMD ["python", "-m", "edge_node"]

FROM base AS cloud
CMD ["python", "-m", "cloud_node"]

# The command: certificates, streams, watching. New volumes at the places of these folders belong to who they belong to.
FROM base AS tools
USER 0:0
COPY constraints.txt /tmp/
RUN PIP_CONSTRAINT=/tmp/constraints.txt pip --python /opt/tiercut/bin/python install --no-cache-dir rich \
 && mkdir -p /pki/home/device/camera-1 /pki/home/device/camera-2 /pki/home/device/camera-3 /pki/home/device/camera-4 \
    /pki/home/device/camera-5 /pki/home/device/camera-6 /pki/home/edge /pki/home/hub/hub \
    /pki/home/bus/site-bus /pki/home/acl /pki/home/operator/operator /pki/home/reader/reader \
    /pki/home/sensor/doorbell /pki/home/sensor/watch \
    /pki/cloud/bus/cloud-bus /pki/cloud/cloud/cloud-1 /pki/cloud/cloud/cloud-2 /pki/data/site-bus /pki/data/cloud-bus \
 && chown -R 10001:10001 /pki && chmod -R 0700 /pki
USER 10001:10001
CMD ["tiercut", "--help"]

FROM base AS device
COPY --from=photographs /photographs /photographs
CMD ["python", "-m", "iot_node"]

FROM base AS hub
COPY --from=models /src/bundles /bundles
ENV TIERCUT_BUNDLES=/bundles
CMD ["python", "-m", "broker"]

# Sensors that publish by themselves and know nothing of tiercut: Mosquitto's own client with something to say.
FROM eclipse-mosquitto:2 AS sensors
COPY --from=models /src/watch.jsonl /sensors/
COPY deploy/sensors/doorbell.jpg /sensors/

# A device or edge whose links are slowed: compose.links.yaml.
FROM device AS links
USER 0:0
RUN command -v tc || (apt-get update -qq && apt-get install -y -qq --no-install-recommends iproute2 \
 && rm -rf /var/lib/apt/lists/*)
COPY deploy/links.sh /links.sh
ENTRYPOINT ["/bin/sh", "/links.sh"]

# A cloud node on an NVIDIA card: the same node on ONNX Runtime's CUDA build, with CUDA and cuDNN from PyPI.
FROM base AS cloud-gpu
USER 0:0
RUN version=$(/opt/tiercut/bin/python -c "import onnxruntime; print(onnxruntime.__version__)") \
 && pip --python /opt/tiercut/bin/python uninstall --yes onnxruntime \
 && pip --python /opt/tiercut/bin/python install --no-cache-dir "onnxruntime-gpu[cuda,cudnn]==$version"
ENV LD_LIBRARY_PATH=/opt/tiercut/lib/python3.11/site-packages/nvidia/cu13/lib:/opt/tiercut/lib/python3.11/site-packages/nvidia/cudnn/lib
USER 10001:10001
CMD ["python", "-m", "cloud_node"]
