#!/bin/sh
# Make Fettle's namespace and its search attributes, once the cluster calls itself healthy. Safe to run at every
# start: what exists is kept, and an attribute of another type is refused in words.
#
# environment: TEMPORAL_ADDRESS, TEMPORAL_NAMESPACE, FETTLE_RETENTION (for a new namespace, such as 30d),
#              FETTLE_WAIT_SECONDS (how long the cluster may take, 180 by default)
set -eu

: "${TEMPORAL_ADDRESS:?the address of the Temporal frontend is missing, such as temporal:7233}"
namespace=${TEMPORAL_NAMESPACE:-fettle}
retention=${FETTLE_RETENTION:-30d}
patience=${FETTLE_WAIT_SECONDS:-180}

say() { printf 'temporal-namespace: %s\n' "$1"; }
fail() {
    say "$1" >&2
    exit 1
}

retry() { # retry <what is awaited> <command...>: until it succeeds or patience is used up
    awaited=$1
    shift
    waited=0
    while ! answer=$("$@" 2>&1); do
        [ "$waited" -lt "$patience" ] || fail "$awaited did not come within $patience s, the last answer was: $answer"
        sleep 1
        waited=$((waited + 1))
    done
}

attribute_type() { # the registered type of attribute $1, or nothing
    temporal operator search-attribute list --namespace "$namespace" --color never |
        awk -v name="$1" '$1 == name { print $2 }'
}

attributes_complete() {
    for name in $keywords; do
        [ "$(attribute_type "$name")" = Keyword ] || { echo "no Keyword $name" && return 1; }
    done
    for name in $booleans; do
        [ "$(attribute_type "$name")" = Bool ] || { echo "no Bool $name" && return 1; }
    done
}

ensure() { # ensure <type> <name...>
    type=$1
    shift
    for name in "$@"; do
        found=$(attribute_type "$name")
        case $found in
            "$type") ;;
            "")
                temporal operator search-attribute create --namespace "$namespace" --name "$name" --type "$type"
                say "search attribute $name ($type) made"
                ;;
            *) fail "search attribute $name is $found in namespace $namespace and Fettle needs $type: use another namespace, or remove the attribute with temporal operator search-attribute remove." ;;
        esac
    done
}

keywords="FettleKind FettleRepo FettlePhase FettleHold FettleSeverity FettleAgent"
booleans="FettleNeedsHuman"

retry "a healthy cluster at $TEMPORAL_ADDRESS" temporal operator cluster health
if temporal operator namespace describe --namespace "$namespace" >/dev/null 2>&1; then
    say "namespace $namespace exists"
else
    temporal operator namespace create --namespace "$namespace" --retention "$retention" \
        --description "Fettle: issues and incidents to verified changes"
    say "namespace $namespace made, closed runs stay for $retention"
fi
# The frontends learn of a namespace from a cache that is refreshed every few seconds.
retry "namespace $namespace in the frontends" temporal workflow count --namespace "$namespace"
# shellcheck disable=SC2086 # a list of names, split on purpose
ensure Keyword $keywords
# shellcheck disable=SC2086 # as above
ensure Bool $booleans
retry "the search attributes of $namespace" attributes_complete
say "ready"
