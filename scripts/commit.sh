#!/usr/bin/env bash
# Prints which commit this checkout is, for record.Build: twelve hex digits, with "+dirty" behind them where tracked
# files differ from it or others lie among them. It prints nothing outside a checkout, and a program built there says
# "unknown".
set -euo pipefail
cd "$(dirname "$0")/.."
id=$(git rev-parse --short=12 --verify HEAD 2>/dev/null) || exit 0
echo "${id:0:12}$([ -z "$(git status --porcelain 2>/dev/null)" ] || echo +dirty)"
