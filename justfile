# Short names for common commands (https://just.systems). `just` alone lists them. .ci/run is the complete check.

# List the commands.
default:
    @just --list

# Formatting, lints and documentation. No test runs.
check:
    cargo fmt --all --check
    cargo clippy --release --locked --workspace --all-targets -- -D warnings
    RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps --quiet

# The tests; those that need what this machine lacks are skipped. `just test --lib settings::` runs some of them.
test *ARGS:
    cargo build --release --locked
    cargo test --release --locked {{ ARGS }}

# All that CI does. Installs missing Debian packages and cargo-deny; needs root for that.
test-all:
    .ci/run

# Train a federation on synthetic patients on this machine; takes minutes. `just demo configs/demo-smoke.toml` is shorter.
demo CONFIG="configs/demo.toml":
    cargo build --release --locked
    ./target/release/coordinator simulate {{ CONFIG }}

# The files of a release, in target/packages: a tarball, Debian packages, a Python wheel, licences, checksums.
release *ARGS:
    shared/packages/release.sh {{ ARGS }}

# One benchmark: step, prepare, transfer, aggregate, overhead or soak. `just bench step demo`, `just bench soak rounds`.
bench NAME *ARGS:
    cargo build --release --locked
    cargo bench --locked --bench {{ NAME }} -- {{ ARGS }}

# Build the API documentation, and test the links between the pages of docs/.
docs:
    RUSTDOCFLAGS="-D warnings" cargo doc --release --locked --workspace --no-deps
    cargo test --release --locked --test docs
