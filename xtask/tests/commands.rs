//! Documents name only commands that exist.

use xtask::commands::{Commands, DEFINITION};
use xtask::tree::{self, File};

#[test]
fn documents_name_commands_that_exist() {
    let files = tree::files(&tree::root()).expect("the tree can be read");
    let definition = files.iter().find(|file| file.path == DEFINITION);
    let commands = Commands::read(&definition.expect("the command line is defined").text);
    let probe = |text: &str| commands.check(&[document(text)]);
    assert_eq!(probe("`mainstay service move web`, `mainstay --root /x status --json`"), [""; 0]);
    let wrong = commands.check(&files);
    assert!(wrong.is_empty(), "\n{}\n", wrong.join("\n"));
}

fn document(text: &str) -> File {
    File { path: "a.md".into(), text: text.into() }
}

#[test]
fn commands_that_do_not_exist_are_seen() {
    let commands = Commands::read(
        "
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Does `this`.
    Status,
    ConfirmDown(Options),
    Lab {
        #[command(subcommand)]
        command: LabCommand,
    },
    Node {
        #[command(subcommand)]
        command: NodeCommand,
    },
}

#[derive(Subcommand)]
enum LabCommand {
    Demo,
    #[command(external_subcommand)]
    Fault(Vec<String>),
}

#[derive(Subcommand)]
enum NodeCommand {
    List,
    Show { name: String },
}
",
    );
    let check = |text: &str| commands.check(&[document(text)]);
    for good in [
        "`mainstay status`, mainstay is, `mainstay`",
        "`mainstay --root DIR --json status`",
        "`mainstay node list|show`, `mainstay node show n1`, `mainstay COMMAND`",
        "```\n$ sudo target/release/mainstay lab demo # mainstay nothing\n```\nmainstay nothing",
        "`mainstay lab cut n1`, `mainstay confirm-down n1`",
        "`cargo run -p mainstay -- lab demo`",
        "```\ncrates/\n  mainstay    the program\n```",
    ] {
        assert_eq!(check(good), [""; 0], "{good}");
    }
    assert_eq!(check("see `mainstay sttus`"), ["a.md:1: there is no mainstay sttus"]);
    assert_eq!(check("`mainstay node list|drop`"), ["a.md:1: there is no mainstay node list|drop"]);
    assert_eq!(
        check("```\n    mainstay --node n2 halt\n```"),
        ["a.md:2: there is no mainstay halt"]
    );
}
