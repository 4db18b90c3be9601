use clap::CommandFactory;

use super::*;

/// The definition has no contradictions (clap's own check).
#[test]
fn the_definition_is_sound() {
    Arguments::command().debug_assert();
}

#[test]
fn manual_pages_and_completions_are_made() {
    let page = documents::page().expect("it can be made");
    for word in [".TH", "membership", "MAINSTAY_ROOT", "Exit codes"] {
        assert!(page.contains(word), "{word} is not in the page");
    }
    let directory = tempfile::tempdir().expect("temporary files can be written");
    clap_mangen::generate_to(Arguments::command(), directory.path()).expect("they can be made");
    let pages = std::fs::read_dir(directory.path()).expect("readable").count();
    assert!(pages > 25, "only {pages} pages");
    let mut text = Vec::new();
    let bash = clap_complete::Shell::Bash;
    clap_complete::generate(bash, &mut Arguments::command(), "mainstay", &mut text);
    assert!(String::from_utf8_lossy(&text).contains("membership"));
}

fn root_of(words: &[&str], environment: &Environment) -> Result<Root, String> {
    let arguments = Arguments::try_parse_from([&["mainstay"], words].concat());
    root(&arguments.expect("the words make sense"), environment)
}

#[test]
fn which_root_is_meant() {
    let directory = tempfile::tempdir().expect("temporary files can be written");
    for node in ["n1", "n2"] {
        let root = Root::new(directory.path().join(node));
        std::fs::create_dir_all(root.configuration()).expect("writable");
    }
    let nothing = Environment::default();
    let lab = Environment { lab: Some(directory.path().into()), ..Environment::default() };
    let other = Environment { root: Some("/other".into()), ..Environment::default() };
    let both = Environment { root: Some("/other".into()), ..lab.clone() };
    assert_eq!(root_of(&["status"], &nothing), Ok(Root::new("/")));
    assert_eq!(root_of(&["status"], &other), Ok(Root::new("/other")));
    assert_eq!(root_of(&["--root", "/x", "status"], &both), Ok(Root::new("/x")));
    assert_eq!(root_of(&["status", "--root", "/x"], &both), Ok(Root::new("/x")));
    let n2 = Ok(Root::new(directory.path().join("n2")));
    assert_eq!(root_of(&["--node", "n2", "status"], &lab), n2);
    assert_eq!(root_of(&["status"], &both), Ok(Root::new("/other")));
    let error = root_of(&["status"], &lab).expect_err("which one?");
    assert!(error.contains("n1, n2"), "{error}");
    let error = root_of(&["--node", "n7", "status"], &lab).expect_err("no such node");
    assert!(error.contains("no node n7"), "{error}");
    assert!(root_of(&["--node", "n2", "status"], &nothing).is_err());
}
