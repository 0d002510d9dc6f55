//! The formatters against rows in the schemas of their datasets.

use std::{env, fs, path::Path};

use fulcrum_common::plan::{Formatter, Named, Pick};

use super::*;

fn named(formatter: Formatter, pick: Pick, seed: u64) -> Named {
    Named { formatter, version: formatter.version(), pick, seed }
}

#[test]
fn the_page_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/formatters.md");
    if env::var_os("FULCRUM_BLESS").is_some() {
        fs::write(&path, reference()).unwrap();
    }
    let page = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == reference(),
        "run `FULCRUM_BLESS=1 cargo test -p fulcrum-data` to renew docs/formatters.md"
    );
}

#[test]
fn a_plan_for_another_version_is_refused() {
    let named = Named { version: 7, ..named(Formatter::Sciq, Pick::One, 0) };
    let message = templates(&named).unwrap_err().to_string();
    assert_eq!(message, "the plan asks for version 7 of the formatter \"sciq\", this program has version 1");
}
