//! Licence expressions, and what `deny.toml` refuses.

use std::collections::BTreeSet;

use xtask::licences::{Package, Rules, check, is_allowed};
use xtask::tree;

fn fits(expression: &str) -> bool {
    let allowed: BTreeSet<String> =
        ["MIT", "ISC", "Apache-2.0 WITH LLVM-exception"].map(String::from).into();
    is_allowed(expression, &allowed).expect("an expression")
}

#[test]
fn of_alternatives_one_is_enough_and_of_conjunctions_all_are_needed() {
    assert!(fits("MIT"));
    assert!(!fits("GPL-3.0-only"));
    assert!(fits("GPL-3.0-only OR MIT"));
    assert!(fits("MIT/Apache-2.0"));
    assert!(fits("MIT AND ISC"));
    assert!(!fits("MIT AND GPL-3.0-only"));
    assert!(fits("GPL-3.0-only OR MIT AND ISC"));
    assert!(!fits("(GPL-3.0-only OR MIT) AND Unicode-3.0"));
    assert!(fits("(GPL-3.0-only OR MIT) AND ISC"));
    assert!(fits("Apache-2.0 WITH LLVM-exception OR Apache-2.0"));
    assert!(!fits("Apache-2.0 WITH Classpath-exception-2.0"));
}

#[test]
fn nonsense_is_refused() {
    for expression in ["", "MIT OR", "(MIT", "MIT)", "MIT ISC", "OR MIT", "MIT WITH"] {
        assert!(is_allowed(expression, &BTreeSet::new()).is_err(), "{expression}");
    }
}

#[test]
fn deny_toml_refuses_other_licences_and_other_sources() {
    let path = tree::root().join("deny.toml");
    let text = std::fs::read_to_string(path).expect("deny.toml is there");
    let rules = Rules::read(&text).expect("deny.toml is complete");
    let package = |licence: Option<&str>, source: &str| {
        let licence = licence.map(String::from);
        check(&[Package { name: "x 1.0.0".into(), licence, source: source.into() }], &rules)
            .expect("expressions are sound")
    };
    let registry = "registry+https://github.com/rust-lang/crates.io-index";
    assert_eq!(package(Some("MIT OR Apache-2.0"), registry), [""; 0]);
    let refused = ["x 1.0.0: licence AGPL-3.0-only is not in deny.toml"];
    assert_eq!(package(Some("AGPL-3.0-only"), registry), refused);
    assert_eq!(package(None, registry), ["x 1.0.0: states no licence"]);
    assert_eq!(
        package(Some("MIT"), "git+https://example.org/x"),
        ["x 1.0.0: comes from git+https://example.org/x"]
    );
}
