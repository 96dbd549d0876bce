#!/usr/bin/env bash
# Our denoiser in the algorithms of the real deepinv, in an environment of its own.
# deepinv imports torchvision, whose one release for the PyTorch of constraints.txt brings no CUDA.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=${1:-$(mktemp -d)}
[ -x "$environment/bin/pip" ] || "${PYTHON:-python3}" -m venv "$environment"
source "$environment/bin/activate"
torch=$(grep '^torch==' constraints.txt)
pip install --quiet "$torch" torchvision==0.28.0 deepinv==0.5.0
pip install --quiet "$torch" '.[io]' pytest
python -m pytest tests/deepinv_checks.py -q -rA -c /dev/null --noconftest
