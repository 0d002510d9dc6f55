//! Compiles the C++ files against libtorch's headers.

const FILES: [&str; 5] =
    ["src/shim.cpp", "src/nodes.cpp", "src/passes.cpp", "src/memory.cpp", "src/reducer.cpp"];
const HEADERS: [&str; 6] =
    ["src/face.h", "src/loops.h", "src/operation.h", "src/exchange.h", "src/group.h", "include"];
/// Without libtorch in it, and all arithmetic: optimized in every profile.
const LOOPS: &str = "src/loops.cpp";

fn main() {
    let include = fulcrum_link::libtorch().join("include");
    for changed in FILES.iter().chain(&HEADERS).chain([&LOOPS]) {
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
    cc::Build::new()
        .cpp(true)
        .pic(true)
        .flag("-std=c++17")
        .opt_level(3)
        // What keeps loops from becoming vector instructions; sums are in the order of the vectors that `omp simd` allows.
        .flag("-fno-math-errno")
        .flag("-fno-trapping-math")
        .flag("-fopenmp-simd")
        .file(LOOPS)
        .compile("fulcrum_loops");
    fulcrum_link::rpath();
}
