//! What Kubernetes is told: a job that leads the run, an indexed job of workers, and what both read.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use fulcrum_common::{Key, exit, experiment::Cluster};
use serde_json::{Value, json};

/// Where the volume is, in every container.
pub(crate) const VOLUME: &str = "/fulcrum";

/// Where the experiment file is, in every container.
const EXPERIMENT: &str = "/experiment";

/// The coordinator's port.
const PORT: u16 = 4600;

/// Exit codes after which another start would end the same way.
const FINAL: [i32; 6] =
    [exit::USAGE, exit::MISMATCH, exit::DIGEST, exit::NO_PROGRESS, exit::STANDSTILL, exit::INTERNAL];

/// How long an object's name may be: that of a pod is longer, and is the name of a host.
const NAME: usize = 40;

/// A run to be.
#[derive(Debug)]
pub(crate) struct Run<'a> {
    /// The experiment's name.
    pub(crate) name: &'a str,
    /// The experiment file's text.
    pub(crate) experiment: &'a str,
    /// What the containers run.
    pub(crate) image: &'a str,
    /// The claim of the volume that all share: runs lie there, and a store that is a folder.
    pub(crate) claim: &'a str,
    /// The secret that says how a store in a bucket is reached; none for one on the volume.
    pub(crate) credentials: Option<&'a str>,
    /// The namespace; none for that of whoever applies it.
    pub(crate) namespace: Option<&'a str>,
    /// What the processes know each other by.
    pub(crate) token: &'a str,
    /// Workers, a pod each.
    pub(crate) workers: usize,
    /// How often the pods of a job may be started again.
    pub(crate) restarts: usize,
    /// What `fulcrum run` is told besides.
    pub(crate) options: Vec<String>,
    /// What is asked of the scheduler.
    pub(crate) cluster: &'a Cluster,
}

impl Run<'_> {
    /// The objects, as `kubectl apply` takes them: two jobs, or one JobSet of both where its controller is installed.
    ///
    /// # Errors
    /// If the experiment's name or an amount of memory is none that Kubernetes takes.
    pub(crate) fn manifest(&self, as_set: bool) -> Result<Value> {
        let name = self.object()?;
        let labels = json!({ "app.kubernetes.io/name": "fulcrum", "app.kubernetes.io/instance": name });
        let object = |version: &str, kind: &str, name: &str, rest: Value| {
            let mut metadata = json!({ "name": name, "labels": labels });
            metadata
                .as_object_mut()
                .expect("it is one")
                .extend(self.namespace.map(|it| ("namespace".to_owned(), it.into())));
            let mut object = json!({ "apiVersion": version, "kind": kind, "metadata": metadata });
            object.as_object_mut().expect("it is one").extend(rest.as_object().cloned().unwrap_or_default());
            object
        };
        let selector = json!({ "fulcrum/run": name, "fulcrum/part": "head" });
        let ports = json!([{ "name": "coordinator", "port": PORT }]);
        let mut items = vec![
            object("v1", "Secret", &name, json!({ "type": "Opaque", "stringData": { "token": self.token } })),
            object("v1", "ConfigMap", &name, json!({ "data": { "experiment.toml": self.experiment } })),
            object(
                "v1",
                "Service",
                &name,
                json!({ "spec": { "clusterIP": "None", "selector": selector, "ports": ports } }),
            ),
        ];
        let (head, worker) = (self.head(&name)?, self.worker(&name)?);
        if as_set {
            let job = |name: &str, spec: Value| json!({ "name": name, "replicas": 1, "template": { "spec": spec } });
            let spec = json!({
                "successPolicy": { "operator": "All", "targetReplicatedJobs": ["head"] },
                "failurePolicy": { "maxRestarts": self.restarts, "rules": [
                    { "name": "final", "action": "FailJobSet", "onJobFailureReasons": ["PodFailurePolicy"] },
                ] },
                "replicatedJobs": [job("head", head), job("worker", worker)],
            });
            items.push(object("jobset.x-k8s.io/v1alpha2", "JobSet", &name, json!({ "spec": spec })));
        } else {
            items.push(object("batch/v1", "Job", &format!("{name}-head"), json!({ "spec": head })));
            items.push(object("batch/v1", "Job", &format!("{name}-worker"), json!({ "spec": worker })));
        }
        Ok(json!({ "apiVersion": "v1", "kind": "List", "items": items }))
    }

    /// What the objects are called.
    fn object(&self) -> Result<String> {
        let name = self.name.to_ascii_lowercase().replace(['_', '.'], "-");
        let is_label = name.len() <= NAME && name.ends_with(|last: char| last.is_ascii_alphanumeric());
        if !is_label {
            bail!(
                "the experiment's name {:?} is no name for Kubernetes: take at most {NAME} letters, digits and '-'",
                self.name
            );
        }
        Ok(format!("fulcrum-{name}"))
    }

    /// The job that leads the run.
    fn head(&self, name: &str) -> Result<Value> {
        let mut words = vec!["fulcrum".to_owned(), "run".to_owned(), format!("{EXPERIMENT}/experiment.toml")];
        words.extend([
            format!("--workers={}", self.workers),
            "--here=0".to_owned(),
            format!("--port={PORT}"),
        ]);
        // The address of the pod, which Kubernetes puts in its place.
        words.extend(["--interface=$(POD_IP)".to_owned(), format!("--threads={}", self.cluster.cpus)]);
        words.extend(self.options.iter().cloned());
        let address =
            json!({ "name": "POD_IP", "valueFrom": { "fieldRef": { "fieldPath": "status.podIP" } } });
        let pod = self.pod(name, "head", words, address, json!({ "requests": { "cpu": "1" } }));
        // What was lost on the way goes on; what would end the same way does not.
        let codes = json!({ "action": "FailJob", "onExitCodes": { "operator": "In", "values": FINAL } });
        Ok(json!({
            "completions": 1, "parallelism": 1, "backoffLimit": self.restarts,
            "podFailurePolicy": { "rules": [codes, disrupted()] }, "template": pod,
        }))
    }

    /// The job of the workers, a pod each.
    fn worker(&self, name: &str) -> Result<Value> {
        let Cluster { cpus, gpus, memory, .. } = self.cluster;
        let mut words = vec![
            "fulcrum".to_owned(),
            "worker".to_owned(),
            format!("--run-folder={VOLUME}/runs/{}", self.name),
        ];
        // The place of the pod among them, which Kubernetes puts there: the same after a restart.
        words.extend(["--seat=worker-$(JOB_COMPLETION_INDEX)".to_owned(), format!("--threads={cpus}")]);
        words.extend([format!("--device={}", if *gpus { "cuda" } else { "cpu" }), "--wait=3600".to_owned()]);
        let index = "metadata.annotations['batch.kubernetes.io/job-completion-index']";
        let place =
            json!({ "name": "JOB_COMPLETION_INDEX", "valueFrom": { "fieldRef": { "fieldPath": index } } });
        let mut requests = BTreeMap::from([("cpu", cpus.to_string())]);
        if let Some(memory) = memory {
            requests.insert("memory", of_all(memory, *cpus)?);
        }
        let limits = if *gpus { json!({ "nvidia.com/gpu": 1 }) } else { json!({}) };
        let pod = self.pod(name, "worker", words, place, json!({ "requests": requests, "limits": limits }));
        let of = |action: &str, codes: &[i32]| json!({ "action": action, "onExitCodes": { "operator": "In", "values": codes } });
        let refused = of("FailJob", &[exit::USAGE, exit::MISMATCH, exit::DIGEST]);
        // Workers of a head that was taken away: no fault of theirs.
        let sent_home = of("Ignore", &[exit::PREEMPTED]);
        Ok(json!({
            "completionMode": "Indexed", "completions": self.workers, "parallelism": self.workers,
            "backoffLimit": self.restarts.saturating_mul(self.workers),
            "podFailurePolicy": { "rules": [refused, sent_home, disrupted()] }, "template": pod,
        }))
    }

    fn pod(&self, name: &str, part: &str, words: Vec<String>, variable: Value, resources: Value) -> Value {
        let token = json!({ "name": "FULCRUM_TOKEN", "valueFrom": { "secretKeyRef": { "name": name, "key": "token" } } });
        // What the head fetches the workers read: on the volume, where a pod's own disk is seen by nobody else.
        let cache = json!({ "name": "XDG_CACHE_HOME", "value": format!("{VOLUME}/cache") });
        // A folder of the same name may be there of another launch, which is over.
        let launch = Key::of(self.token.as_bytes()).short();
        let launch = json!({ "name": "FULCRUM_LAUNCH", "value": launch });
        let secrets: Vec<_> =
            self.credentials.iter().map(|name| json!({ "secretRef": { "name": name } })).collect();
        let container = json!({
            "name": "fulcrum", "image": self.image, "command": [words[0]], "args": words[1..],
            "workingDir": VOLUME, "env": [token, launch, cache, variable], "envFrom": secrets, "resources": resources,
            "volumeMounts": [
                { "name": "work", "mountPath": VOLUME },
                { "name": "experiment", "mountPath": EXPERIMENT, "readOnly": true },
            ],
        });
        json!({
            "metadata": { "labels": { "fulcrum/run": name, "fulcrum/part": part } },
            "spec": {
                "restartPolicy": "Never",
                "terminationGracePeriodSeconds": self.cluster.grace,
                "containers": [container],
                "volumes": [
                    { "name": "work", "persistentVolumeClaim": { "claimName": self.claim } },
                    { "name": "experiment", "configMap": { "name": name } },
                ],
            },
        })
    }
}

/// A pod that is taken away counts for nothing.
fn disrupted() -> Value {
    json!({ "action": "Ignore", "onPodConditions": [{ "type": "DisruptionTarget", "status": "True" }] })
}

/// The memory of all cores of a worker, of which each has so much, in the words of Slurm: `4G` is 4 GiB.
fn of_all(memory: &str, cpus: usize) -> Result<String> {
    let digits = memory.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
    let unit = match &memory[digits.len()..] {
        "" | "M" | "MB" => "Mi",
        "K" | "KB" => "Ki",
        "G" | "GB" => "Gi",
        "T" | "TB" => "Ti",
        _ => bail!("cluster.memory = {memory:?} has no unit of K, M, G and T"),
    };
    let each: usize =
        digits.parse().with_context(|| format!("cluster.memory = {memory:?} is no whole number"))?;
    Ok(format!("{}{unit}", each.saturating_mul(cpus)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_that_of_all_cores() {
        for (memory, cpus, expected) in [("4G", 8, "32Gi"), ("500", 2, "1000Mi"), ("1T", 1, "1Ti")] {
            assert_eq!(of_all(memory, cpus).unwrap(), expected);
        }
        for wrong in ["4X", "G", "1.5G", "-1G"] {
            assert!(of_all(wrong, 1).is_err(), "{wrong}");
        }
    }
}
