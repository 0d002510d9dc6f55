//! The dependency graph: the rooms of `docs/architecture.md`, licences, and duplicate versions.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::OnceLock;

use serde_json::Value;
use toml::Table;

/// The rooms from the inside out: a crate may use those of earlier lines only.
const PLANES: &[&[&str]] = &[&["fulcrum-common"], &["fulcrum-coordinator"], &["fulcrum"]];
const WORKER: &[&[&str]] = &[
    &["fulcrum-common", "fulcrum-link"],
    &["fulcrum-torch-shim"],
    &["fulcrum-collective", "fulcrum-data", "fulcrum-models"],
    &["fulcrum-train"],
    &["fulcrum-methods"],
    &["fulcrum-worker"],
];
/// Everything that may link libtorch.
const TORCH: [&str; 6] = [
    "fulcrum-torch-shim",
    "fulcrum-collective",
    "fulcrum-models",
    "fulcrum-train",
    "fulcrum-methods",
    "fulcrum-worker",
];

struct Package {
    name: String,
    version: String,
    license: Option<String>,
    member: bool,
    /// Ids of what it depends on in any way: to run, to build, and for members to test.
    dependencies: Vec<String>,
    /// Ids of what it depends on to run and to build.
    uses: Vec<String>,
}

/// The resolved graph on this machine, by package id.
fn graph() -> &'static BTreeMap<String, Package> {
    static GRAPH: OnceLock<BTreeMap<String, Package>> = OnceLock::new();
    GRAPH.get_or_init(|| read_graph(&metadata()))
}

/// Cargo's view of the workspace, without the network where the crates are fetched already.
fn metadata() -> Value {
    let host = host();
    let arguments = ["metadata", "--format-version", "1", "--locked", "--filter-platform", &host];
    let offline = fulcrum_tests::cargo(&arguments).arg("--offline").output().unwrap();
    let output =
        if offline.status.success() { offline } else { fulcrum_tests::cargo(&arguments).output().unwrap() };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn host() -> String {
    let version = fulcrum_tests::cargo(&["--version", "--verbose"]).output().unwrap();
    let text = String::from_utf8(version.stdout).unwrap();
    text.lines().find_map(|line| line.strip_prefix("host: ")).expect("cargo tells its host").to_owned()
}

fn read_graph(metadata: &Value) -> BTreeMap<String, Package> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let members: BTreeSet<_> =
        metadata["workspace_members"].as_array().unwrap().iter().filter_map(text).collect();
    let nodes = metadata["resolve"]["nodes"].as_array().unwrap().iter();
    let edges: BTreeMap<_, _> =
        nodes.map(|node| (text(&node["id"]).unwrap(), node["deps"].as_array().unwrap())).collect();
    let package = |package: &Value| {
        let id = text(&package["id"]).unwrap();
        let edges = edges.get(&id)?;
        let not_for_tests =
            |edge: &&Value| edge["dep_kinds"].as_array().unwrap().iter().any(|kind| kind["kind"] != "dev");
        let package = Package {
            name: text(&package["name"]).unwrap(),
            version: text(&package["version"]).unwrap(),
            license: text(&package["license"]),
            member: members.contains(&id),
            dependencies: edges.iter().filter_map(|edge| text(&edge["pkg"])).collect(),
            uses: edges.iter().filter(not_for_tests).filter_map(|edge| text(&edge["pkg"])).collect(),
        };
        Some((id, package))
    };
    metadata["packages"].as_array().unwrap().iter().filter_map(package).collect()
}

fn members() -> impl Iterator<Item = (&'static String, &'static Package)> {
    graph().iter().filter(|(_, package)| package.member)
}

/// The names of everything that a package brings with it.
fn closure(id: &str) -> BTreeSet<&'static str> {
    let (mut seen, mut open) = (BTreeSet::new(), vec![id.to_owned()]);
    while let Some(id) = open.pop() {
        if seen.insert(id.clone()) {
            open.extend(graph()[&id].dependencies.iter().cloned());
        }
    }
    seen.iter().map(|id| graph()[id].name.as_str()).collect()
}

/// The versions of each package, oldest first.
fn versions() -> BTreeMap<&'static str, Vec<&'static str>> {
    let mut versions: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for package in graph().values() {
        versions.entry(package.name.as_str()).or_default().push(package.version.as_str());
    }
    versions
}

fn deny() -> Table {
    std::fs::read_to_string(fulcrum_tests::repository().join("deny.toml")).unwrap().parse().unwrap()
}

/// The skips of deny.toml: (name, required version, reason).
fn skips() -> Vec<(String, String, String)> {
    let skip = |entry: &toml::Value| {
        let (name, version) =
            entry["crate"].as_str().unwrap().split_once(':').expect("a skip is name:version");
        (name.to_owned(), version.to_owned(), entry["reason"].as_str().unwrap_or_default().to_owned())
    };
    deny()["bans"]["skip"].as_array().unwrap().iter().map(skip).collect()
}

/// Is `0.9.5` a version of the line `0.9`?
fn is_of_line(version: &str, line: &str) -> bool {
    version.strip_prefix(line).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}

#[test]
fn only_the_workers_computing_crates_bring_libtorch() {
    for (id, package) in members() {
        let brings = closure(id).contains("torch-sys");
        let may = TORCH.contains(&package.name.as_str());
        assert_eq!(
            brings,
            may,
            "{} {} libtorch",
            package.name,
            if brings { "must not link" } else { "should link" }
        );
    }
}

#[test]
fn each_room_uses_only_the_rooms_inside_it() {
    for layers in [PLANES, WORKER] {
        let depth = |name: &str| layers.iter().position(|layer| layer.contains(&name));
        for (_, package) in members().filter(|(_, package)| depth(&package.name).is_some()) {
            for dependency in package.uses.iter().map(|id| &graph()[id]).filter(|other| other.member) {
                let inside =
                    depth(&dependency.name) < depth(&package.name) && depth(&dependency.name).is_some();
                assert!(inside, "{} must not use {}", package.name, dependency.name);
            }
        }
    }
}

#[test]
fn every_crate_has_its_place_in_this_test() {
    let placed = |name: &str| PLANES.iter().chain(WORKER).any(|layer| layer.contains(&name));
    let tools = ["xtask", "fulcrum-tests"];
    for (_, package) in members() {
        assert!(
            placed(&package.name) || tools.contains(&package.name.as_str()),
            "{} has no place",
            package.name
        );
    }
}

#[test]
fn every_licence_is_on_the_list() {
    let deny = deny();
    let list: Vec<_> =
        deny["licenses"]["allow"].as_array().unwrap().iter().filter_map(|name| name.as_str()).collect();
    for package in graph().values() {
        let license =
            package.license.as_deref().unwrap_or_else(|| panic!("{} tells no licence", package.name));
        let expression = spdx::Expression::parse_mode(license, spdx::ParseMode::LAX)
            .unwrap_or_else(|error| panic!("{}: {license}: {error}", package.name));
        let allowed = expression.evaluate(|required| list.contains(&required.to_string().as_str()));
        assert!(allowed, "{} {}: {license} is not allowed by deny.toml", package.name, package.version);
    }
}

#[test]
fn a_second_version_of_a_crate_needs_a_reason() {
    let skips = skips();
    let mut unexplained = Vec::new();
    for (name, versions) in versions() {
        let skipped =
            |version: &str| skips.iter().any(|(skip, line, _)| skip == name && is_of_line(version, line));
        let rest: Vec<_> = versions.into_iter().filter(|version| !skipped(version)).collect();
        if rest.len() > 1 {
            unexplained.push(format!("{name} {}", rest.join(" and ")));
        }
    }
    assert!(unexplained.is_empty(), "duplicates without a skip in deny.toml: {}", unexplained.join(", "));
}

#[test]
fn a_skip_has_a_reason_and_goes_when_it_is_not_needed() {
    let lock = std::fs::read_to_string(fulcrum_tests::repository().join("Cargo.lock")).unwrap();
    let lock: Table = lock.parse().unwrap();
    let packages: Vec<_> = lock["package"].as_array().unwrap().iter().collect();
    for (name, line, reason) in skips() {
        assert!(!reason.is_empty(), "the skip of {name}:{line} has no reason");
        let versions = packages.iter().filter(|package| package["name"].as_str() == Some(&name));
        let versions: Vec<_> = versions.filter_map(|package| package["version"].as_str()).collect();
        let needed = versions.len() > 1 && versions.iter().any(|version| is_of_line(version, &line));
        assert!(needed, "the skip of {name}:{line} is not needed any more: remove it from deny.toml");
    }
}

#[test]
fn a_version_belongs_to_its_line_only() {
    for (version, line, belongs) in
        [("0.9.5", "0.9", true), ("0.9", "0.9", true), ("0.90.1", "0.9", false), ("1.2.3", "0.9", false)]
    {
        assert_eq!(is_of_line(version, line), belongs, "{version} of {line}");
    }
}
