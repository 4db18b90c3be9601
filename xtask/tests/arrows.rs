//! The arrows between crates are those of the picture in `xtask/src/arrows.rs`.

use xtask::arrows::{Manifest, check, manifest, manifests};
use xtask::tree;

#[test]
fn no_arrow_is_missing_from_the_picture() {
    let manifests = manifests(&tree::root()).expect("the manifests can be read");
    assert!(manifests.len() >= 13, "all members are looked at: {}", manifests.len());
    let wrong = check(&manifests);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

#[test]
fn a_forbidden_arrow_is_seen_in_every_kind_of_section() {
    let all = manifests(&tree::root()).expect("the manifests can be read");
    let wrong = |name: &str, sections: &str| {
        let text = format!("[package]\nname = \"{name}\"\n{sections}");
        let planted = manifest(&text).expect("a manifest");
        let others = all.iter().filter(|other| other.name != name).cloned();
        let mut all: Vec<Manifest> = others.collect();
        all.push(planted);
        check(&all).join("\n")
    };
    let arrow = "group must not use engine";
    assert_eq!(wrong("group", "[dependencies]\nengine.workspace = true"), arrow);
    assert_eq!(wrong("group", "[build-dependencies]\nengine = { path = \"../engine\" }"), arrow);
    assert_eq!(wrong("group", "[dependencies]\nx = { package = \"engine\" }"), arrow);
    assert_eq!(wrong("group", "[target.'cfg(unix)'.dependencies]\nengine = \"1\""), arrow);
    let tests = "the tests of group must not use engine";
    assert_eq!(wrong("group", "[dev-dependencies]\nengine.workspace = true"), tests);
    let pure = "group must stay pure and so must not use libc from outside";
    assert_eq!(wrong("group", "[dependencies]\nlibc.workspace = true"), pure);
    assert_eq!(wrong("new", ""), "new is not in the table ARROWS");
}
