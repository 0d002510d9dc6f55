//! What a kubelet makes of a pod's template: a container, with everything in it that the template only names.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::Value;

use super::container::{Mount, Plan};

/// Where the completion index of a pod is found.
const INDEX: &str = "metadata.annotations['batch.kubernetes.io/job-completion-index']";

/// A pod's own facts, which its template may ask for.
#[derive(Debug)]
pub(super) struct Facts {
    pub(super) name: String,
    pub(super) hostname: String,
    pub(super) address: String,
    /// Of an indexed job.
    pub(super) index: Option<usize>,
}

/// What pods find on their node, and in the namespace that they are in.
#[derive(Debug)]
pub(super) struct Surroundings<'a> {
    /// Secrets and config maps, by kind and name.
    pub(super) objects: &'a [Value],
    /// The folder behind the claim.
    pub(super) volume: &'a Path,
    /// Where config maps are laid out.
    pub(super) scratch: &'a Path,
}

impl Surroundings<'_> {
    /// The container of a pod.
    pub(super) fn plan(&self, template: &Value, facts: &Facts) -> Plan {
        let spec = &template["spec"];
        known(template, &["metadata", "spec"]);
        known(spec, &["restartPolicy", "terminationGracePeriodSeconds", "containers", "volumes"]);
        assert_eq!(spec["restartPolicy"], "Never");
        let [container] = &spec["containers"].as_array().unwrap()[..] else { panic!("{spec}") };
        let fields =
            ["name", "image", "command", "args", "workingDir", "env", "envFrom", "resources", "volumeMounts"];
        known(container, &fields);
        let environment = self.environment(container, facts);
        let words = ["command", "args"].iter().flat_map(|key| list(&container[*key]));
        let words = words.map(|word| expand(text(word), &environment)).collect();
        let mounts = list(&container["volumeMounts"]).map(|mount| self.mount(mount, &spec["volumes"], facts));
        Plan {
            name: facts.hostname.clone(),
            mounts: mounts.collect(),
            environment: environment.into_iter().collect(),
            folder: text(&container["workingDir"]).to_owned(),
            words,
        }
    }

    fn environment(&self, container: &Value, facts: &Facts) -> BTreeMap<String, String> {
        let mut environment = BTreeMap::new();
        for source in list(&container["envFrom"]) {
            environment.extend(self.secret(text(&source["secretRef"]["name"])));
        }
        for variable in list(&container["env"]) {
            let from = &variable["valueFrom"];
            let value = match (&variable["value"], &from["secretKeyRef"], &from["fieldRef"]["fieldPath"]) {
                (Value::String(value), _, _) => expand(value, &environment),
                (_, Value::Object(secret), _) => {
                    self.secret(text(&secret["name"]))[text(&secret["key"])].clone()
                }
                (_, _, Value::String(path)) if path == "status.podIP" => facts.address.clone(),
                (_, _, Value::String(path)) if path == INDEX => facts.index.unwrap().to_string(),
                _ => panic!("this node does not know {variable}"),
            };
            environment.insert(text(&variable["name"]).to_owned(), value);
        }
        environment
    }

    fn mount(&self, mount: &Value, volumes: &Value, facts: &Facts) -> Mount {
        let volume = list(volumes).find(|volume| volume["name"] == mount["name"]).unwrap();
        let (to, read_only) = (text(&mount["mountPath"]).into(), mount["readOnly"] == true);
        if volume["persistentVolumeClaim"].is_object() {
            return Mount { from: self.volume.into(), to, read_only };
        }
        let map = self.object("ConfigMap", text(&volume["configMap"]["name"]));
        let from = self.scratch.join(format!("{}-{}", facts.name, text(&volume["name"])));
        fs::create_dir(&from).unwrap();
        for (name, value) in map["data"].as_object().unwrap() {
            fs::write(from.join(name), text(value)).unwrap();
        }
        Mount { from, to, read_only }
    }

    fn secret(&self, name: &str) -> BTreeMap<String, String> {
        let data = self.object("Secret", name)["stringData"].as_object().unwrap();
        data.iter().map(|(key, value)| (key.clone(), text(value).to_owned())).collect()
    }

    fn object(&self, kind: &str, name: &str) -> &Value {
        let is_it = |object: &&Value| object["kind"] == kind && object["metadata"]["name"] == name;
        self.objects.iter().find(is_it).unwrap_or_else(|| panic!("there is no {kind} {name:?}"))
    }
}

/// Refuses what this node would pass over.
pub(super) fn known(object: &Value, fields: &[&str]) {
    let unknown = object.as_object().unwrap().keys().find(|key| !fields.contains(&key.as_str()));
    assert_eq!(unknown, None, "this node does not know it: {object}");
}

pub(super) fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// Puts variables in the place of `$(NAME)`. `$$` is a dollar, and what names no variable stays as it is.
fn expand(word: &str, variables: &BTreeMap<String, String>) -> String {
    let (mut expanded, mut rest) = (String::new(), word);
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let named = after.strip_prefix('(').and_then(|after| after.split_once(')'));
        let value = named.and_then(|(name, after)| Some((variables.get(name)?.as_str(), after)));
        let (value, after) = value.unwrap_or(("$", after.strip_prefix('$').unwrap_or(after)));
        expanded.push_str(value);
        rest = after;
    }
    expanded + rest
}

#[test]
fn words_are_expanded_as_kubernetes_says() {
    let variables = BTreeMap::from([("A".to_owned(), "1".to_owned())]);
    for (word, expected) in [
        ("--seat=worker-$(A)", "--seat=worker-1"),
        ("$(A)$(A)", "11"),
        ("$$(A)", "$(A)"),
        ("$(B)", "$(B)"),
        ("$A $( $", "$A $( $"),
    ] {
        assert_eq!(expand(word, &variables), expected, "{word}");
    }
}
