#!/usr/bin/env bash
# Our blocks beside the tiles of deepinv and CAREamics, in an environment of its own.
# Both import torchvision, whose one release for the PyTorch of constraints.txt brings no CUDA. CAREamics 0.3.5
# asks for torchvision up to 0.26 and uses it for nothing that is called here, so it comes without its dependencies.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=${1:-$(mktemp -d)}
shift || true
[ -x "$environment/bin/pip" ] || "${PYTHON:-python3}" -m venv "$environment"
source "$environment/bin/activate"
torch=$(grep '^torch==' constraints.txt)
pip install --quiet "$torch" torchvision==0.28.0 deepinv==0.5.0 '.[big]' psutil \
    'lightning<=2.6.1' 'bioimageio-core<=0.11.0' microssim 'torchmetrics<1.9' 'pydantic<=2.14.1' 'pyyaml<=6.0.3'
pip install --quiet --no-deps careamics==0.3.5
PYTHONPATH=src OMP_NUM_THREADS=1 python -m benchmarks.tilers "$@"
