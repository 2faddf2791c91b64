#!/bin/sh
# Print the path of the newest CPython 3.13, 3.12 or 3.11 that really runs and can make a virtual environment.
#
# usage: find_python.sh            search PATH, pyenv's versions and /usr/bin
#        PYTHON=/path find_python.sh   take this one, or say why it does not fit
#
# Every candidate is executed, because a name proves nothing: pyenv leaves shims on PATH that fail when run, and
# Debian ships an interpreter whose venv module cannot make an environment until another package is installed.
set -u

# Newest first. 3.14 is missing on purpose: the workflow sandbox of the Temporal SDK grows its state there.
versions="3.13 3.12 3.11"

# The answer is the base interpreter, not that of an active virtual environment: ours may be about to be deleted.
probe='
import platform, sys
try:
    import ensurepip, venv
    able = "venv"
except ImportError:
    able = "no-venv"
if platform.python_implementation() == "CPython":
    print("%d.%d" % sys.version_info[:2], able, getattr(sys, "_base_executable", None) or sys.executable)
'

fail() {
    printf 'fettle: %s\n' "$1" >&2
    exit 1
}

ask() { # answer "<major.minor> <venv|no-venv> <path>", or nothing when the candidate does not run
    if [ -f "$1" ] && [ -x "$1" ]; then
        "$1" -I -c "$probe" </dev/null 2>/dev/null
    fi
}

if [ -n "${PYTHON:-}" ]; then
    chosen=$(command -v "$PYTHON") || fail "PYTHON=$PYTHON is not a program: give the path of a Python 3.11, 3.12 or 3.13."
    answer=$(ask "$chosen")
    read -r version able path <<END
$answer
END
    case " $versions " in
        *" ${version:-none} "*) ;;
        *) fail "PYTHON=$PYTHON is ${version:-not a working CPython}, and Fettle needs 3.11, 3.12 or 3.13: unset PYTHON or point it at one of these." ;;
    esac
    [ "$able" = venv ] || fail "PYTHON=$PYTHON has no venv and ensurepip: install its venv package (on Debian or Ubuntu: apt install python$version-venv)."
    printf '%s\n' "$path"
    exit 0
fi

pyenv_root=${PYENV_ROOT:-}
if [ -z "$pyenv_root" ] && command -v pyenv >/dev/null 2>&1; then
    pyenv_root=$(pyenv root 2>/dev/null)
fi

candidates() { # one path a line, for version $1, the preferred first
    set -f # a directory on PATH may hold a wildcard character
    IFS=:
    for directory in $PATH; do
        printf '%s\n' "${directory:-.}/python$1"
    done
    for directory in $PATH; do
        printf '%s\n' "${directory:-.}/python3" "${directory:-.}/python"
    done
    unset IFS
    set +f
    if [ -n "$pyenv_root" ]; then
        for installed in "$pyenv_root/versions/$1".*/bin/python; do
            printf '%s\n' "$installed"
        done
    fi
    printf '%s\n' "/usr/local/bin/python$1" "/usr/bin/python$1" /usr/bin/python3
}

seen="" # what runs but does not fit, for the sentence at the end
lacking=""
for wanted in $versions; do
    while IFS= read -r candidate; do
        answer=$(ask "$candidate")
        [ -n "$answer" ] || continue
        read -r version able path <<END
$answer
END
        if [ "$version" != "$wanted" ]; then
            case " $seen " in *" $version "*) ;; *) seen="$seen $version" ;; esac
        elif [ "$able" = venv ]; then
            printf '%s\n' "$path"
            exit 0
        else
            lacking=${lacking:-"$version at $candidate"}
        fi
    done <<END
$(candidates "$wanted")
END
done

if [ -n "$lacking" ]; then
    fail "Python $lacking has no venv and ensurepip: install its venv package (on Debian or Ubuntu: apt install python${lacking%% *}-venv), then run make again."
fi
fail "Fettle needs Python 3.11, 3.12 or 3.13 and none was found (found:${seen:- nothing that runs}): install one, for example with apt install python3 python3-venv, or name it with make PYTHON=/path/to/python."
