//! Makes the tests of this crate find libtorch at run time.

fn main() {
    fulcrum_link::rpath();
}
