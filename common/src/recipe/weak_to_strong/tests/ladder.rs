//! Chains through the ladder, and what a model of it says of itself.

use super::*;

#[test]
fn bootstrapping_labels_from_model_to_model() {
    let plan = plan("[[method]]\nname = \"b\"\nthrough = \"intermediate\"\nrounds = 1");
    let first = "student b s>m round 1 seed 0";
    let second = "student b s>l round 2 seed 0";
    let last = "student b s>l seed 0";
    assert_eq!(read(&plan, first, "labels"), "weak labels s seed 0");
    assert_eq!(read(&plan, second, "labels"), format!("weak labels {first}"));
    assert_eq!(read(&plan, last, "labels"), format!("weak labels {second}"));
    let students = roles(&plan).into_iter().filter(|role| matches!(role, Role::Student { .. }));
    let expected = Role::Student { method: "b".into(), weak: "s".into(), strong: "l".into() };
    assert_eq!(students.collect::<Vec<_>>(), [expected], "pairs with nobody between have no student");
}

#[test]
fn a_model_that_only_passes_labels_on_needs_no_pair() {
    let method = "[[method]]\nname = \"b\"\nthrough = [\"m\"]";
    let plan = plan_with("pairs = [[\"s\", \"l\"]]", method);
    assert_eq!(read(&plan, "student b s>l seed 0", "labels"), "weak labels student b s>m round 1 seed 0");
    let ceilings = plan.stages().iter().filter(|stage| stage.name.starts_with("ceiling"));
    assert_eq!(ceilings.count(), 1, "of the student alone");
    let text = written("", "pairs = [[\"s\", \"l\"]]", "[[method]]\nname = \"b\"");
    let error = experiment::parse("t.toml", &text, "".as_ref()).unwrap_err().to_string();
    assert!(error.contains("model \"m\" is in none of methods.pairs: add a pair, lead a method"), "{error}");
}

#[test]
fn a_model_trains_on_as_many_workers_as_it_says() {
    let text =
        written("", "pairs = [[\"s\", \"l\"]]", "[[method]]\nname = \"a\"\nthrough = \"intermediate\"");
    let limited = text.replacen("name = \"s\"", "name = \"s\"\nworkers = 1", 1);
    let (plan, free) = (compiled(&limited), compiled(&text));
    for stage in plan.stages() {
        let is_small = ["pretrain s", "weak s seed 0"].contains(&stage.name.as_str());
        assert_eq!(stage.workers, is_small.then_some(1), "{}", stage.name);
    }
    let keys = |plan: &Plan| plan.stages().iter().map(|stage| stage.key).collect::<Vec<_>>();
    assert_eq!(keys(&plan), keys(&free));
}

#[test]
fn a_chain_shares_its_first_student_with_the_naive_one() {
    let one = plan("[[method]]\nname = \"a\"");
    let both = plan("[[method]]\nname = \"a\"\n[[method]]\nname = \"b\"\nthrough = [\"m\"]");
    let key = |plan: &Plan, name: &str| named(plan, name).key();
    assert_eq!(key(&one, "student a s>m seed 0"), key(&both, "student a s>m seed 0"));
    let name = read(&both, "student b s>l seed 0", "labels");
    assert_eq!(read(&both, name, "model"), "student a s>m seed 0");
}

#[test]
fn only_who_learns_language_first_must_be_a_language_model() {
    let folder = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str| put(folder.path(), path, text);
    for (name, kind, purpose) in [("reads", "bert", "BertModel"), ("speaks", "gpt2", "GPT2LMHeadModel")] {
        let shape = "\"num_hidden_layers\": 1, \"max_position_embeddings\": 64";
        let config = format!("{{\"model_type\": {kind:?}, \"architectures\": [{purpose:?}], {shape}}}");
        write(&format!("{name}/config.json"), &config);
        for file in ["model.safetensors", "tokenizer.json"] {
            write(&format!("{name}/{file}"), "");
        }
    }
    write("rows.csv", "text,label\na,0\n");
    let compiled = |weak: &str, strong: &str| {
        let text = format!(
            "name = \"n\"\nrecipe = \"weak-to-strong\"\n[task]\nsource = \".\"\nfiles = [\"rows.csv\"]\ntext = \"{{{{ text }}}}\"\n\
             label = \"label\"\nclasses = [\"0\", \"1\"]\nsplit = {{ ground_truth = 10, weak_labels = 8, test = 5 }}\n\
             [[model]]\nname = \"s\"\nfrom = {weak:?}\n[[model]]\nname = \"l\"\nfrom = {strong:?}\n\
             [methods]\nrun = []\n[[method]]\nname = \"g\"\ngenerative = 1\n"
        );
        let experiment = experiment::parse("n.toml", &text, folder.path()).unwrap_or_else(|e| panic!("{e}"));
        let cache = folder.path().join("cache");
        let roots =
            crate::source::Roots { data: None, hub: crate::source::HubCache::new(cache.clone()), cache };
        compile(&experiment, &Sources::resolve(&experiment, &roots).unwrap())
    };
    let plan = compiled("reads", "speaks").unwrap();
    assert_eq!(read(&plan, "student g s>l seed 0", "model"), "language l seed 0");
    let error = compiled("speaks", "reads").unwrap_err().to_string();
    assert!(error.starts_with("\"l\" is no language model, but method \"g\" is generative"), "{error}");
}
