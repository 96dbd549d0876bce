#!/usr/bin/env bash
# The tests of the plugins of napari and diffusers, and of Lightning, which are too large for every
# run, in an environment of their own. A window of napari is tested where there is a screen: xvfb-run -a tests/plugins.sh
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

environment=$(mktemp -d)
trap 'rm -rf "$environment"' EXIT
"${PYTHON:-python3}" -m venv "$environment"
source "$environment/bin/activate"
export PIP_DISABLE_PIP_VERSION_CHECK=1 COVERAGE_FILE="$environment/coverage" QT_QPA_PLATFORM=offscreen

pip install --quiet -c constraints.txt -c tests/constraints-plugins.txt \
    '.[diffusers,napari]' lightning npe2 PyQt6 hypothesis pytest pytest-cov pytest-timeout PyYAML
python -W ignore -c 'import diffusers, lightning, napari, npe2, PyQt6.QtWidgets'  # else all tests would skip
npe2 validate scalewise
pytest -rs --no-cov tests/test_diffusers.py tests/test_lightning.py tests/test_napari.py
