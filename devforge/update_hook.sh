#!/bin/sh
# Git runs this for each ref of a push: arguments are ref, old id, new id. The server says in the environment which
# refs it refuses (one "ref<TAB>reason" a line) and which may only move forward (one ref a line); whether a move is
# forward can only be asked here, where the new objects are already visible.
tab=$(printf '\t')
printf '%s\n' "$DEVFORGE_REFUSED" | while IFS="$tab" read -r ref reason; do
  if [ "$ref" = "$1" ]; then
    printf 'GH006: Protected branch update failed for %s.\n%s\n' "$1" "$reason" >&2
    exit 1
  fi
done || exit 1
printf '%s\n' "$DEVFORGE_FORWARD_ONLY" | grep -Fxq -e "$1" || exit 0
case "$2" in *[!0]*) ;; *) exit 0 ;; esac
git merge-base --is-ancestor "$2" "$3" && exit 0
printf 'GH006: Protected branch update failed for %s.\nCannot force-push to this branch\n' "$1" >&2
exit 1
