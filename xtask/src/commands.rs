//! Commands that documents name exist.
//!
//! The command line is defined in one file with clap's derive macros; its enums are read as text,
//! because a test that has to build the program first is not run often enough.

use std::collections::BTreeMap;

use crate::source;
use crate::tree::File;

/// Where the command line is defined.
pub const DEFINITION: &str = "crates/mainstay/src/cli/arguments.rs";

/// Options that stand before the command and take a value.
const WITH_VALUE: &[&str] = &["--root", "--node"];

/// The commands of each enum, with the enum of their own commands where they have some.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Commands {
    enums: BTreeMap<String, Enum>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Enum {
    variants: BTreeMap<String, Option<String>>,
    /// Takes any other word too.
    is_open: bool,
}

impl Commands {
    /// Reads the enums that derive `Subcommand`.
    #[must_use]
    pub fn read(text: &str) -> Commands {
        let code = source::layers(text).code;
        let mut commands = Commands::default();
        let mut lines = code.lines();
        while let Some(line) = lines.next() {
            if !(line.starts_with("#[derive(") && line.contains("Subcommand")) {
                continue;
            }
            let head = lines.by_ref().find(|line| line.contains("enum "));
            let name = head.and_then(|line| line.split("enum ").nth(1)?.split_whitespace().next());
            let Some(name) = name else { break };
            commands.enums.insert(name.to_owned(), read_enum(&mut lines));
        }
        commands
    }

    /// A sentence for each command in the documents that does not exist.
    #[must_use]
    pub fn check(&self, files: &[File]) -> Vec<String> {
        let mut wrong = Vec::new();
        for file in files.iter().filter(|file| file.path.ends_with(".md")) {
            // Two blanks separate columns of a drawing or a table, not words of a command.
            let code = code_of(&file.text);
            let code =
                code.iter().flat_map(|(number, code)| code.split("  ").map(move |c| (number, c)));
            for (number, code) in code {
                let words: Vec<&str> = code.split_whitespace().collect();
                for (at, word) in words.iter().enumerate() {
                    if (*word == "mainstay" || word.ends_with("/mainstay"))
                        && let Some(unknown) = self.unknown(&words[at + 1..])
                    {
                        let path = &file.path;
                        wrong.push(format!("{path}:{number}: there is no mainstay {unknown}"));
                    }
                }
            }
        }
        wrong
    }

    /// The command in these words, if it does not exist.
    fn unknown(&self, words: &[&str]) -> Option<String> {
        let mut words = words.iter().copied();
        let mut level = self.enums.get("Command")?;
        let mut said = Vec::new();
        while let Some(word) = words.next() {
            if WITH_VALUE.contains(&word) {
                words.next();
                continue;
            }
            if word.starts_with('-') {
                continue;
            }
            // `list|show` names two.
            let alternatives: Vec<&str> = word.split('|').collect();
            if !alternatives.iter().all(|word| is_command(word)) {
                return None; // A placeholder, or the end of the command.
            }
            said.push(word);
            let exists = |word: &&str| level.is_open || level.variants.contains_key(*word);
            if !alternatives.iter().all(exists) {
                return Some(said.join(" "));
            }
            level = self.enums.get(level.variants.get(word)?.as_ref()?)?;
        }
        None
    }
}

fn read_enum<'a>(lines: &mut impl Iterator<Item = &'a str>) -> Enum {
    let mut found = Enum::default();
    let mut variant = String::new();
    for line in lines {
        if line.starts_with('}') {
            break;
        }
        let text = line.trim();
        let indent = line.len() - line.trim_start().len();
        if text.contains("external_subcommand") {
            found.is_open = true;
        } else if indent == 4 && text.starts_with(|c: char| c.is_ascii_uppercase()) {
            let name = source::words(text).next().unwrap_or_default();
            variant = source::parts(name).join("-");
            found.variants.insert(variant.clone(), None);
        } else if let Some((_, kind)) = text.split_once("command: ") {
            found.variants.insert(variant.clone(), source::words(kind).next().map(String::from));
        }
    }
    found
}

fn is_command(word: &str) -> bool {
    let is_letter = |c: char| c.is_ascii_lowercase() || c == '-';
    word.starts_with(|c: char| c.is_ascii_lowercase()) && word.chars().all(is_letter)
}

/// What stands in backquotes or in a fenced block, line by line.
fn code_of(text: &str) -> Vec<(usize, &str)> {
    let mut found = Vec::new();
    let mut fenced = false;
    for (number, line) in (1..).zip(text.lines()) {
        if line.trim_start().starts_with("```") {
            fenced = !fenced;
        } else if fenced {
            // What follows `#` is said about the command.
            found.push((number, line.split(" #").next().unwrap_or(line)));
        } else {
            found.extend(line.split('`').skip(1).step_by(2).map(|code| (number, code)));
        }
    }
    found
}
