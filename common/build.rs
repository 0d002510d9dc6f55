//! Compiles the protocol without needing protoc on the machine.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let descriptors = protox::compile(["fulcrum.proto"], ["proto"])?;
    // What the command line also prints as JSON.
    let shown = ["StatusReply", "StageStatus", "WorkerStatus", "Violation"];
    let configure = |build: tonic_prost_build::Builder, name: &&str| {
        build.type_attribute(format!("fulcrum.v1.{name}"), "#[derive(serde::Serialize)]")
    };
    let shown = shown.iter().fold(tonic_prost_build::configure(), configure);
    // What is kept in files as well.
    let kept = ["Flight", "FlightGroup", "FlightCall"];
    let configure = |build: tonic_prost_build::Builder, name: &&str| {
        build.type_attribute(format!("fulcrum.v1.{name}"), "#[derive(serde::Serialize, serde::Deserialize)]")
    };
    kept.iter().fold(shown, configure).compile_fds(descriptors)?;
    Ok(())
}
