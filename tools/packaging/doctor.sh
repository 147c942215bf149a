#!/bin/sh
# Says what is here of what the targets of the Makefile need: `make doctor`. Fails only where `make run` or `make test`
# could not work. It uses little more than the shell itself, because it is asked when things are missing.
#
# Each argument is a tool that the Makefile installs: its folder, a file that makes it complete, who needs it.
set -u
cd "${0%/*}/../.." || exit 1

failed=0

# ---- What it looks like

line() { printf '%-9s%-30s%-11s%-18s%s\n' "$1" "$2" "$3" "$4" "$5"; }
heading() { printf '\n'; line '' "$1" here expected 'needed by'; }
remedy() { printf '%9s-> %s\n' '' "$1"; }

# state_of HERE EXPECTED: an empty HERE is missing; an empty EXPECTED is any.
state_of() {
    if [ -z "$1" ]; then state=missing
    elif [ -n "$2" ] && ! at_least "$1" "$2"; then state='too old'
    else state=ok
    fi
}

# required NAME HERE EXPECTED TARGETS REMEDY
required() {
    state_of "$2" "$3"
    line "$state" "$1" "${2:--}" "${3:+$3 or newer}" "$4"
    [ "$state" = ok ] || { remedy "$5"; failed=1; }
}

# optional NAME HERE EXPECTED TARGETS REMEDY
optional() {
    state_of "$2" "$3"
    line "$state" "$1" "${2:--}" "${3:+$3 or newer}" "$4"
    [ "$state" = ok ] || remedy "$5"
}

# installed FOLDER FILE TARGETS: what a target installs by itself, in a version that is fixed.
installed() {
    if [ -e "$1/$2" ]; then line ok "$1" installed '' "$3"
    else line later "$1" - '' "$3: installs it"
    fi
}

# ---- What is asked

# at_least VERSION MINIMUM: compares number by number; what is not given counts as 0.
at_least() {
    have=$1. want=$2.
    while [ -n "$want" ]; do
        h=${have%%.*} w=${want%%.*}
        have=${have#*.} want=${want#*.}
        h=${h%%[!0-9]*} w=${w%%[!0-9]*}
        [ "${h:-0}" -gt "${w:-0}" ] && return 0
        [ "${h:-0}" -lt "${w:-0}" ] && return 1
    done
    return 0
}

# version_of COMMAND...: the first word of the answer that begins with a digit; nothing if the command does not work.
version_of() {
    answer=$("$@" 2>/dev/null) || return 0
    for word in $answer; do
        word=${word##*[/(]}
        word=${word#v}
        case $word in [0-9]*.[0-9]*) echo "${word%%[!0-9.]*}"; return 0 ;; esac
    done
}

yes_if() { "$@" >/dev/null 2>&1 && echo yes; }

rust_version() {
    while IFS= read -r text; do
        case $text in 'rust-version = "'*) text=${text#*\"}; echo "${text%%\"*}"; return 0 ;; esac
    done <Cargo.toml
}

# pinned PACKAGE FILE: the version that a file asks for, as in PACKAGE==1.2.3.
pinned() {
    while IFS= read -r text; do
        case $text in *"$1=="*) text=${text#*"$1=="}; echo "${text%%[!0-9.]*}"; return 0 ;; esac
    done <"$2"
}

# Whether Rust's own library for a target is here.
has_target() { [ -d "$(rustc --print target-libdir --target "$1" 2>/dev/null)" ]; }

free_gigabytes() {
    df -Pk . 2>/dev/null | { read -r _ && read -r _ _ _ free _ && echo $((free / 1000000)); }
}

# ---- The list

rust=$(rust_version)
system=$(uname -s 2>/dev/null)
sam=$(pinned aws-sam-cli Makefile)
lambda=$(pinned cargo-lambda tools/local/src/install.rs)
zig=$(pinned ziglang tools/local/src/install.rs)

heading 'For make run and make test'
required 'GNU make' "${MAKE_VERSION:-}" 3.81 'everything' 'run this as: make doctor'
required 'cargo' "$(version_of cargo --version)" "$rust" 'everything' 'https://rustup.rs, or: rustup update stable'
required 'rustc' "$(version_of rustc --version)" "$rust" 'everything' 'https://rustup.rs, or: rustup update stable'
required "C compiler (${CC:-cc})" "$(version_of "${CC:-cc}" --version)" '' 'everything' \
    'sudo apt install gcc libc6-dev; sudo dnf install gcc; macOS: xcode-select --install'
required 'python3' "$(version_of python3 --version)" 3.10 'run, local, test' \
    'sudo apt install python3; sudo dnf install python3; macOS: brew install python'
required 'python3: venv, ensurepip' "$(yes_if python3 -c 'import venv, ensurepip')" '' 'run, local, test' \
    'sudo apt install python3-venv'
# The tests alone fill 2.2 GB of target/, and 0.5 GB of .local/.
required 'free disk (GB)' "$(free_gigabytes)" 5 'everything' 'cargo clean, or set CARGO_TARGET_DIR to another disk'
installed .local/ministack installed.txt 'run, local, test'
installed .local/moto installed.txt 'test'
installed .local/seaweed installed.txt 'test'
installed .local/rclone installed.txt 'test'

heading 'For other targets'
optional 'rustfmt' "$(version_of cargo fmt --version)" '' 'lint, check' 'rustup component add rustfmt'
optional 'clippy' "$(version_of cargo clippy --version)" '' 'lint, check' 'rustup component add clippy'
for triple in aarch64-unknown-linux-gnu x86_64-unknown-linux-gnu; do
    optional "Rust for ${triple%%-*} Linux" "$(yes_if has_target $triple)" '' 'build, package' "rustup target add $triple"
done
optional 'Rust nightly' "$(version_of cargo +nightly --version)" '' 'fuzz' 'rustup toolchain install nightly'
optional 'C++ compiler' "$(version_of "${CXX:-c++}" --version)" '' 'fuzz' 'sudo apt install g++; sudo dnf install gcc-c++'
optional 'Linux' "$([ "$system" = Linux ] && echo yes)" '' 'chaos, whale, crowd, bench' \
    "they stop and freeze processes, or read from /proc what these use; this is ${system:-unknown}"
optional 'Node.js, with npm' "$(command -v npm >/dev/null && version_of node --version)" 20 'examples' 'https://nodejs.org'
installed .local/cargo-lambda installed.txt 'build, invoke, package'
for tool; do
    folder=${tool%% *} rest=${tool#* }
    installed "$folder" "${rest%% *}" "${rest#* }"
done

heading 'For deploying by hand'
optional 'sam' "$(version_of sam --version)" "$sam" 'sam build, sam deploy' "pip install aws-sam-cli==$sam"
optional 'cargo-lambda' "$(version_of cargo-lambda lambda --version)" "$lambda" 'sam build, cargo lambda deploy' \
    "pip install cargo-lambda==$lambda ziglang==$zig, or after make build: PATH=\"\$PWD/.local/cargo-lambda/bin:\$PATH\""
optional 'aws' "$(version_of aws --version)" '' 'sending messages' \
    'https://docs.aws.amazon.com/cli/latest/userguide/getting-started-install.html'
optional 'docker (its service)' "$(version_of docker version --format '{{.Server.Version}}')" '' 'sam local invoke' \
    'make run and make invoke do without'

printf '\n'
[ $failed = 0 ] && echo 'make run and make test can work here.' || echo 'make run and make test cannot work here yet.'
exit $failed
