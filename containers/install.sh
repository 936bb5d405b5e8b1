#!/usr/bin/env bash
# Inside an image, as root, with the project in /opt/hpcbench: makes it ready for any user.
set -euo pipefail
cd /opt/hpcbench
if [ -z "${XDG_CACHE_HOME:-}" ]; then
    XDG_CACHE_HOME=$(mktemp -d)
    export XDG_CACHE_HOME
    trap 'rm -rf "$XDG_CACHE_HOME"' EXIT
fi
# Git tells which commit a checkout is at that is run in the image.
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends git >/dev/null
containers/setup.sh --no-data
apt-get clean
rm -rf /var/lib/apt/lists/*

# What provenance names: a digest of all that is installed, the same for the same contents.
digest=$({ dpkg-query --show 2>/dev/null || true; .venv/bin/python -m pip freeze --all --exclude-editable; cat containers/commit; } |
    sha256sum | cut -d' ' -f1)
cat >image.json <<JSON
{"name": "hpcbench", "commit": "$(cat containers/commit)", "digest": "sha256:$digest"}
JSON
# Runtimes put the host's own over these, where they are.
touch /etc/hosts /etc/resolv.conf /etc/localtime
chmod -R a+rX .
