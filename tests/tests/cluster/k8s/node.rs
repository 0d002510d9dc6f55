//! A node, and what is behind it: it does with the printed objects what the documents of Kubernetes say a kubelet and the
//! controller of jobs do, as far as these objects ask for it, and refuses what it does not know.

use std::{
    fs,
    path::PathBuf,
    thread::park_timeout,
    time::{Duration, Instant},
};

use fulcrum_tests::workplace::{Workplace, entries};
use serde_json::Value;

use super::{
    container::Container,
    job::{Death, End, Job},
    pod::{Facts, Surroundings},
};
use crate::{daemon::PATIENCE, network::Network};

/// A pod of a job, from its start to its end.
#[derive(Debug)]
struct Pod {
    job: usize,
    index: usize,
    container: Container,
    /// When it is killed, once the cluster takes it away.
    deadline: Option<Instant>,
}

/// All that `kubectl apply` was given, and the pods that follow from it.
#[derive(Debug)]
pub(super) struct Node<'a> {
    objects: Vec<Value>,
    jobs: Vec<Job>,
    pods: Vec<Pod>,
    network: Network,
    /// Pods so far. The number of each is that of its host, which no other ever has.
    made: u32,
    /// What stands behind every claim.
    place: &'a Workplace,
    scratch: tempfile::TempDir,
}

impl<'a> Node<'a> {
    /// Takes the objects. The workplace is what stands behind every claim, and `name` tells the networks of tests apart.
    pub(super) fn apply(name: &str, list: &Value, place: &'a Workplace) -> Self {
        let (jobs, objects): (Vec<_>, Vec<_>) =
            list["items"].as_array().unwrap().iter().cloned().partition(|item| item["kind"] == "Job");
        Self {
            objects,
            jobs: jobs.iter().map(Job::new).collect(),
            pods: Vec::new(),
            network: Network::new(name),
            made: 0,
            place,
            scratch: tempfile::tempdir().unwrap(),
        }
    }

    /// Goes on until `found` finds something.
    pub(super) fn until<T>(&mut self, mut found: impl FnMut(&mut Self) -> Option<T>) -> T {
        let began = Instant::now();
        loop {
            self.step();
            if let Some(found) = found(self) {
                return found;
            }
            assert!(began.elapsed() < PATIENCE, "waited in vain\n{}", self.logs());
            park_timeout(Duration::from_millis(20));
        }
    }

    /// Goes on until a job has ended; how it did.
    pub(super) fn end_of(&mut self, part: &str) -> End {
        self.until(|node| node.job(part).end.clone())
    }

    /// The job whose name ends like this.
    pub(super) fn job(&self, part: &str) -> &Job {
        &self.jobs[self.place(part)]
    }

    /// What all pods said, and what the run wrote down, for a message.
    pub(super) fn logs(&self) -> String {
        let logs = entries(self.scratch.path()).into_iter().filter(|path| path.is_file());
        let read = |path: PathBuf| format!("{}:\n{}", path.display(), fs::read_to_string(&path).unwrap());
        logs.map(read).chain([self.place.logs()]).collect::<Vec<_>>().join("\n")
    }

    /// Kills the first process of a pod, as the kernel does where memory runs out.
    pub(super) fn kill(&mut self, part: &str, index: usize) {
        self.pod(part, index).container.signal("KILL");
    }

    /// Takes a pod away, as where its machine is drained: it is asked to end, and killed when its grace is over.
    pub(super) fn evict(&mut self, part: &str, index: usize) {
        let job = self.place(part);
        let grace = &self.jobs[job].template["spec"]["terminationGracePeriodSeconds"];
        let deadline = Instant::now() + Duration::from_secs(grace.as_u64().unwrap());
        let pod = self.pod(part, index);
        pod.container.signal("TERM");
        pod.deadline = Some(deadline);
    }

    fn place(&self, part: &str) -> usize {
        self.jobs.iter().position(|job| job.name.ends_with(part)).unwrap()
    }

    fn pod(&mut self, part: &str, index: usize) -> &mut Pod {
        let job = self.place(part);
        self.pods.iter_mut().find(|pod| (pod.job, pod.index) == (job, index)).unwrap()
    }

    fn step(&mut self) {
        for mut pod in std::mem::take(&mut self.pods) {
            match pod.container.ended() {
                Some(code) => {
                    let death = Death { index: pod.index, code, disrupted: pod.deadline.is_some() };
                    self.jobs[pod.job].judge(death);
                }
                None => {
                    if pod.deadline.is_some_and(|deadline| deadline <= Instant::now()) {
                        pod.container.signal("KILL");
                    }
                    self.pods.push(pod);
                }
            }
        }
        // What is left of a job that failed goes.
        self.pods.retain(|pod| !matches!(self.jobs[pod.job].end, Some(End::Failed(_))));
        for job in 0..self.jobs.len() {
            for index in self.jobs[job].take_vacant() {
                self.start(job, index);
            }
        }
    }

    fn start(&mut self, job: usize, index: usize) {
        self.made += 1;
        self.network.connect(self.made);
        let Job { name, template, is_indexed, .. } = &self.jobs[job];
        let facts = Facts {
            name: format!("{name}-{}", self.made),
            hostname: if *is_indexed { format!("{name}-{index}") } else { format!("{name}-{}", self.made) },
            address: Network::address(self.made),
            index: is_indexed.then_some(index),
        };
        let (objects, volume, scratch) = (&self.objects, &self.place.at(""), self.scratch.path());
        let plan = Surroundings { objects, volume, scratch }.plan(template, &facts);
        let log = scratch.join(format!("{}.log", facts.name));
        let container = plan.start(self.network.on(self.made), log);
        self.pods.push(Pod { job, index, container, deadline: None });
    }
}
