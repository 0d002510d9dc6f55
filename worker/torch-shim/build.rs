//! Compiles the C++ files against libtorch's headers.

const FILES: [&str; 4] = ["src/shim.cpp", "src/nodes.cpp", "src/memory.cpp", "src/reducer.cpp"];
const HEADERS: [&str; 5] = ["src/face.h", "src/operation.h", "src/exchange.h", "src/group.h", "include"];

fn main() {
    let include = fulcrum_link::libtorch().join("include");
    for changed in FILES.iter().chain(&HEADERS) {
        println!("cargo:rerun-if-changed={changed}");
    }
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .warnings(false)
        .flag("-std=c++17")
        .define("_GLIBCXX_USE_CXX11_ABI", "1")
        .define("USE_C10D_GLOO", None)
        .include("include")
        .include(&include)
        .include(include.join("torch/csrc/api/include"))
        .files(FILES)
        .compile("fulcrum_torch_shim");
    fulcrum_link::rpath();
}
