#!/bin/sh
# Runs the tests with the lowest versions that setup.py allows, and with the newest on each Python.
# Environments, logs and the table stay in .matrix; arguments go to pytest. A Python that is neither here
# nor to be downloaded is skipped, and named.
set -u
UV=${UV:-uv}
failed=0
mkdir -p .matrix
version='import importlib.metadata as m; print(*(p + " " + m.version(p) for p in ("jax", "flax", "numpy", "pillow")), sep=", ")'
echo "| Python | versions | tests | date |" >.matrix/result.md
echo "|---|---|---|---|" >>.matrix/result.md
for row in ${ROWS:-3.11:lowest-direct 3.11:highest 3.12:highest 3.13:highest}; do
    python=${row%%:*} resolution=${row##*:}
    folder=.matrix/$python-$resolution
    if ! $UV venv --quiet --seed --clear --python "$python" "$folder"; then
        result="skipped: no Python $python here, and none to download" with=""
    elif ! $UV pip install --quiet --python "$folder" --resolution "$resolution" -e '.[test]'; then
        result="not installed: no versions fit" with="" failed=1
    else
        with=$("$folder/bin/python" -c "$version")
        "$folder/bin/python" -m pytest -q "$@" >"$folder/log" 2>&1 || failed=1
        result=$(tail -n 1 "$folder/log" | tr -d '=')
    fi
    echo "| $python | $resolution: $with | $result | $(date -u +%F) |" | tee -a .matrix/result.md
done
exit $failed
