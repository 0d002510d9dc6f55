fn main() {
    fulcrum_link::rpath();
}
