//! Rows that are vectors, and the models that read them.

use crate::{GOOD, edited, parse, refused};

const MIXTURE: &str = r#"name = "t"
recipe = "weak-to-strong"
[task]
source = "builtin:mixture"
split = { ground_truth = 100, weak_labels = 100, test = 50 }
[[model]]
name = "narrow"
width = 2
[[model]]
name = "wide"
width = 8
noise = 0.5
"#;

/// The same ladder over embeddings in a file.
fn given() -> String {
    let files = "source = \"rows\"\nfiles = [\"e.safetensors\"]\nclasses = [\"cat\", \"dog\", \"owl\"]";
    let text = MIXTURE.replace("source = \"builtin:mixture\"", files).replace("noise = 0.5\n", "");
    text.replace("width = 2", "features = \"a\"\nown_classifier = true")
        .replace("width = 8", "features = \"b\"")
}

#[test]
fn points_and_embeddings_have_models_that_read_them() {
    parse(MIXTURE).unwrap();
    parse(&given()).unwrap();
    for (text, expected) in [
        (
            MIXTURE.replace("width = 2", "features = \"a\""),
            "exp.toml:6: model \"narrow\" does not read what the task has: task.source generates points: give model.width",
        ),
        (
            given().replace("features = \"b\"", "width = 3"),
            "exp.toml:12: model \"wide\" does not read what the task has: task.files hold embeddings: give model.features",
        ),
        (
            given().replace("features = \"b\"", "features = \"b\"\nwidth = 3"),
            "exp.toml:15: model.width is not read: model.features names a file's tensor",
        ),
        (
            given().replace("features = \"b\"", "features = \"b\"\nnoise = 1"),
            "exp.toml:15: model.noise is not read without model.width",
        ),
        (
            given().replace("features = \"b\"", "features = \"b\"\nreadout = \"mean\""),
            "exp.toml:15: model.readout is not read: \"wide\" is a classifier over vectors",
        ),
        (
            MIXTURE.replace("noise = 0.5", "own_classifier = true"),
            "exp.toml:12: model.own_classifier: what is generated came with no classifier",
        ),
        (
            given().replace("files = ", "label = \"y\"\nfiles = "),
            "exp.toml:5: task.label is not read: files of embeddings and images tell it themselves",
        ),
        (
            format!("{MIXTURE}[task.mixture]\nrows = 9\n"),
            "exp.toml:14: task.mixture.rows = 9 is less than the 250 rows of task.split",
        ),
        (
            format!("{GOOD}[task.mixture]\n"),
            "exp.toml:21: task.mixture is not read: task.source is not \"builtin:mixture\"",
        ),
        (
            format!("{MIXTURE}[task.arithmetic]\n"),
            "exp.toml:13: task.arithmetic is not read: task.source is not \"builtin:arithmetic\"",
        ),
    ] {
        refused(&text, expected);
    }
    let text = edited("context = 32", "context = 32\nown_classifier = true");
    let expected = "exp.toml:7: model \"small\" does not read what the task has: the rows of this task are texts: give model.from";
    refused(&text, expected);
}

#[test]
fn nothing_is_asked_of_vectors_that_needs_texts() {
    for (rest, what) in [
        ("[[method]]\nname = \"m\"\nhint = [\"a\", \"b\", \"c\", \"d\", \"e\"]\n", "15: method.hint"),
        ("[[method]]\nname = \"m\"\ngenerative = 1\n", "15: method.generative"),
        ("[[method]]\nname = \"m\"\nerrors = \"longest\"\n", "15: method.errors by length"),
        ("[train.lora]\n", "13: train.lora"),
    ] {
        let text = format!("{MIXTURE}{rest}");
        let way_out = "needs texts, but the rows of this task are none: leave it out";
        refused(&text, &format!("exp.toml:{what} {way_out}"));
    }
    parse(&format!("{MIXTURE}[[method]]\nname = \"m\"\nerrors = \"random\"\n")).unwrap();
}

#[test]
fn images_have_networks_that_read_them() {
    let images = |model: &str| {
        given()
            .replace("e.safetensors", "a.tar.zst")
            .replace("features = \"b\"", model)
            .replace("features = \"a\"", "from = \"a\"")
    };
    let experiment = parse(&images("from = \"hf:owner/b\"")).unwrap();
    assert_eq!(experiment.origins().len(), 2);
    parse(&images("from = \"b\"").replace("a.tar.zst", "x-images-idx3-ubyte.gz")).unwrap();
    let expected = "exp.toml:12: model \"wide\" does not read what the task has: task.files hold images: give model.from, a network that reads them";
    refused(&images("features = \"b\""), expected);
    refused(
        &images("from = \"b\"\nlayers = 3"),
        "exp.toml:15: model.layers is not read: \"wide\" is a classifier over vectors",
    );
}
