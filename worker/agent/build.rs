//! Lets this package's binaries and tests find libtorch.

fn main() {
    fulcrum_link::rpath();
}
