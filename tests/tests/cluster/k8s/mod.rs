//! `fulcrum launch k8s`: what it prints is what Kubernetes takes, by the schemas that it publishes.

use std::{fs, path::Path, process::Command};

use fulcrum_tests::workplace::Workplace;
use serde_json::{Value, json};

use crate::daemon::{left_out, workplace};

mod container;
mod job;
mod node;
mod pod;
mod runs;

/// The package with the schemas of every version of Kubernetes.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// Validates objects, one file each, and refuses what the schemas do not have.
fn validate(folder: &Path, objects: &[Value]) {
    let package = folder.join("package");
    let install = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--target"];
    let installed = Command::new("python3").args(install).arg(&package).arg(VALIDATOR).output().unwrap();
    assert!(installed.status.success(), "{}", String::from_utf8_lossy(&installed.stderr));
    let files: Vec<_> = (0..objects.len()).map(|place| folder.join(format!("{place}.json"))).collect();
    for (file, object) in files.iter().zip(objects) {
        fs::write(file, object.to_string()).unwrap();
    }
    let mut command = Command::new("python3");
    command.args(["-m", "kubernetes_validate", "--strict"]).args(&files).env("PYTHONPATH", &package);
    let output = command.output().unwrap();
    let said = [output.stdout, output.stderr].concat();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&said));
}

/// What is printed, with so many words more.
fn printed(place: &Workplace, more: &[&str]) -> Value {
    let fixed = ["launch", "k8s", "tiny.toml", "--image", "registry/fulcrum:1", "--claim", "shared"];
    let output = place.command(&[&fixed[..], more].concat()).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

fn of_kind<'a>(items: &'a [Value], kind: &str) -> Vec<&'a Value> {
    items.iter().filter(|item| item["kind"] == kind).collect()
}

#[test]
fn objects_are_those_of_the_published_schemas() {
    if left_out() {
        return;
    }
    let place = workplace();
    let text = fs::read_to_string(place.experiment()).unwrap()
        + "cpus = 4\nmemory = \"2G\"\ngpus = true\ngrace = 90\n";
    fs::write(place.experiment(), &text).unwrap();
    let printed = |more: &[&str]| printed(&place, more);
    let list = printed(&["--workers", "3", "--namespace", "research", "--data-root", "/fulcrum/data"]);
    let items = list["items"].as_array().unwrap().clone();
    let jobs = of_kind(&items, "Job");
    let [head, worker] = jobs[..] else { panic!("{list}") };
    assert_eq!(worker["spec"]["completions"], 3);
    let container = |job: &Value| job["spec"]["template"]["spec"]["containers"][0].clone();
    let expected = json!({ "requests": { "cpu": "4", "memory": "8Gi" }, "limits": { "nvidia.com/gpu": 1 } });
    assert_eq!(container(worker)["resources"], expected);
    assert_eq!(worker["spec"]["template"]["spec"]["terminationGracePeriodSeconds"], 90);
    let refused = &head["spec"]["podFailurePolicy"]["rules"][0]["onExitCodes"]["values"];
    assert_eq!(*refused, json!([2, 20, 21, 30, 31, 40]), "10 and 11 are started again");
    assert!(items.iter().all(|item| item["metadata"]["namespace"] == "research"));
    assert_eq!(of_kind(&items, "ConfigMap")[0]["data"]["experiment.toml"], text);

    let token = of_kind(&items, "Secret")[0]["stringData"]["token"].as_str().unwrap();
    assert_eq!(token.len(), 64);
    assert!(jobs.iter().all(|job| !job.to_string().contains(token)), "the token is in a command line");
    let other = printed(&[]);
    assert_ne!(of_kind(other["items"].as_array().unwrap(), "Secret")[0]["stringData"]["token"], token);

    // A store in a bucket: the pods have the keys of a secret that is there already, and the volume holds the runs alone.
    let bucket = printed(&["--store", "s3://models/a", "--credentials", "object-storage"]);
    let bucket = of_kind(bucket["items"].as_array().unwrap(), "Job");
    for job in &bucket {
        assert_eq!(container(job)["envFrom"], json!([{ "secretRef": { "name": "object-storage" } }]));
    }
    assert!(container(bucket[0])["args"].to_string().contains("--store=s3://models/a"), "{bucket:?}");
    let bucket: Vec<_> = bucket.into_iter().cloned().collect();

    // A JobSet is no part of Kubernetes; the jobs in it are.
    let set = printed(&["--jobset"]);
    let set = of_kind(set["items"].as_array().unwrap(), "JobSet")[0].clone();
    assert_eq!(set["spec"]["successPolicy"]["targetReplicatedJobs"], json!(["head"]));
    assert_eq!(set["spec"]["failurePolicy"]["rules"][0]["onJobFailureReasons"], json!(["PodFailurePolicy"]));
    let inner = set["spec"]["replicatedJobs"].as_array().unwrap().iter().map(|job| {
        let (metadata, spec) = (json!({ "name": job["name"] }), job["template"]["spec"].clone());
        json!({ "apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec })
    });
    validate(&place.at(""), &items.iter().cloned().chain(bucket).chain(inner).collect::<Vec<_>>());
}

#[test]
fn a_name_that_no_object_may_have_is_refused() {
    if left_out() {
        return;
    }
    let place = workplace();
    let text = fs::read_to_string(place.experiment()).unwrap();
    fs::write(place.experiment(), text.replace("\"tiny\"", &format!("{:?}", "a".repeat(50)))).unwrap();
    let output =
        place.command(&["launch", "k8s", "tiny.toml", "--image", "i", "--claim", "c"]).output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no name for Kubernetes"));
}
