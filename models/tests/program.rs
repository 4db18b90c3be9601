//! The program `models`: exit codes, and a sentence for whoever mistypes.

use std::process::{Command, Output};

fn models(arguments: &[&str]) -> Output {
    let program = env!("CARGO_BIN_EXE_models");
    Command::new(program).args(arguments).output().expect("the program starts")
}

#[test]
fn a_safe_model_exits_with_0() {
    let output = models(&["lineage", "entries=0"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(0), "{text}");
    assert!(text.contains("no violation"), "{text}");
}

#[test]
fn a_violation_exits_with_1_and_shows_the_way() {
    let output = models(&["fence", "wait=2", "trace=yes"]);
    let text = String::from_utf8_lossy(&output.stdout);
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert!(text.contains("TakeOver"), "{text}");
}

#[test]
fn wrong_usage_exits_with_64_and_says_what_is_wrong() {
    let wrong: [(&[&str], &str); 7] = [
        (&[], "which model?"),
        (&["leas"], "no model `leas`"),
        (&["lease", "nodes"], "not of the form key=value"),
        (&["lease", "nodes=9"], "a whole number up to 5"),
        (&["lease", "node=3"], "`node` is not an argument"),
        (&["lease", "seed=1", "seed=2"], "given twice"),
        (&["fence", "mutant=x"], "one of lease-from-reception, no-wait"),
    ];
    for (arguments, complaint) in wrong {
        let output = models(arguments);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(64), "{arguments:?}: {text}");
        assert!(text.contains(complaint), "{arguments:?}: {text}");
        assert!(text.contains("usage: models"), "{arguments:?}: {text}");
    }
}
