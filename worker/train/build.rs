//! Makes tests find libtorch at run time.

fn main() {
    fulcrum_link::rpath();
}
