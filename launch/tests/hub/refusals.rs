//! Hubs that do not have it, do not give it, are not there, or lie: one line, and nothing half-written.

use std::fs;

use crate::{EXPERIMENT, MODEL, asked, hub, place, plan, server::Trouble};

#[test]
fn what_the_hub_says_is_told_in_one_line_with_the_way_out() {
    for (trouble, fragments) in [
        (
            Trouble::Status(404, "RepoNotFound"),
            &["hf:owner/model is not on http://", "(404)", "HF_TOKEN"][..],
        ),
        (Trouble::Status(404, ""), &["hf:owner/model is not on http://"]),
        (Trouble::Status(404, "RevisionNotFound"), &["hf:owner/model has no revision \"main\""]),
        (Trouble::Status(403, "GatedRepo"), &["hf:owner/model is gated (403)", "HF_TOKEN"]),
        (Trouble::Status(418, ""), &["answers with status 418"]),
        (Trouble::Status(503, ""), &["gives no answer (status 503)", "--data-root"]),
        (Trouble::Listing("[]"), &["is no listing"]),
        (Trouble::Listing(r#"{"sha": "../../x", "siblings": []}"#), &["names commit \"../../x\""]),
        (Trouble::Redirect("file:///etc/passwd"), &["which is not followed"]),
        (Trouble::Redirect("/api/again"), &["redirects without end"]),
    ] {
        let (place, hub) = (place(), hub());
        hub.trouble(trouble.clone());
        let refused = plan(&place, &hub, &[]);
        assert_eq!(refused.code, Some(2), "{trouble:?}: {}", refused.err);
        assert!(fragments.iter().all(|part| refused.err.contains(part)), "{trouble:?}: {}", refused.err);
        assert!(!place.at(MODEL).join("refs").exists(), "{trouble:?}");
    }
}

#[test]
fn bytes_that_are_not_those_listed_are_discarded() {
    for trouble in [Trouble::OtherBytes, Trouble::MoreBytes] {
        let (place, hub) = (place(), hub());
        hub.trouble(trouble.clone());
        let refused = plan(&place, &hub, &[]);
        assert_eq!(refused.code, Some(2), "{trouble:?}: {}", refused.err);
        assert!(refused.err.contains("is not what the hub lists"), "{trouble:?}: {}", refused.err);
        assert!(refused.err.contains("model.safetensors of the model hf:owner/model"), "{}", refused.err);
        let left = fs::read_dir(place.at(MODEL).join("blobs")).unwrap();
        let left: Vec<_> = left.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        assert!(left.iter().all(|name| !name.ends_with(".incomplete")), "{left:?}");
        hub.trouble(Trouble::None);
        let planned = plan(&place, &hub, &[]);
        assert_eq!(planned.code, Some(0), "{}", planned.err);
    }
}

#[test]
fn files_that_would_lie_outside_the_cache_are_refused() {
    for name in ["../../../../rows.csv", "/rows.csv"] {
        let (place, hub) = (place(), hub());
        let index = format!(r#"{{"weight_map": {{"x": "{name}"}}}}"#);
        hub.remove("owner/model", "model.safetensors");
        hub.put("owner/model", "model.safetensors.index.json", index.as_bytes(), false);
        hub.put("owner/model", name, b"evil", false);
        let refused = plan(&place, &hub, &[]);
        assert_eq!(refused.code, Some(2), "{}", refused.err);
        assert!(refused.err.contains("is not the name of a safetensors file"), "{}", refused.err);
        assert!(asked(&hub).iter().all(|path| !path.contains("rows.csv")), "{:?}", asked(&hub));
    }
}

#[test]
fn a_model_of_pickles_is_refused_before_anything_is_fetched() {
    let (place, hub) = (place(), hub());
    hub.remove("owner/model", "model.safetensors");
    let refused = plan(&place, &hub, &[]);
    assert!(
        refused.err.contains("has no safetensors") && refused.err.contains("save_pretrained"),
        "{}",
        refused.err
    );
    assert_eq!(asked(&hub).len(), 1, "{:?}", asked(&hub));
}

#[test]
fn without_network_or_offline_the_error_says_so() {
    let (place, hub) = (place(), hub());
    let offline = plan(&place, &hub, &[("HF_HUB_OFFLINE", "1")]);
    assert_eq!(offline.code, Some(2), "{}", offline.err);
    assert!(
        offline.err.contains("hf:owner/model is not in") && offline.err.contains("HF_HUB_OFFLINE"),
        "{}",
        offline.err
    );
    assert!(hub.requests().is_empty());
    // Bound and closed again: nobody listens there.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let silent = plan(&place, &hub, &[("HF_ENDPOINT", &format!("http://127.0.0.1:{port}"))]);
    assert_eq!(silent.code, Some(2), "{}", silent.err);
    assert!(
        silent.err.contains("gives no answer") && silent.err.contains("is there a network"),
        "{}",
        silent.err
    );
}

#[test]
fn a_name_that_is_no_repository_is_refused_by_the_experiment_file() {
    let (place, hub) = (place(), hub());
    for name in ["../model", "a/b/c", "owner/model@", "owner/model@../x", "a--b/c"] {
        place.write("far.toml", &EXPERIMENT.replace("owner/model", name));
        let refused = plan(&place, &hub, &[]);
        assert!(refused.err.contains("hf:OWNER/NAME@REVISION"), "{name}: {}", refused.err);
    }
    assert!(hub.requests().is_empty());
}
