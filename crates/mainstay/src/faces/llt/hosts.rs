//! `/etc/llthosts`: the nodes of the cluster, `ID NAME` a line; and `sysname`: what a machine is
//! called instead of its host name.
//!
//! A name that is read from a file ends at its first dot, so that a machine that calls itself by its
//! whole domain name is still the same node.

use super::tab::Mistake;
use crate::config::files::node_name_error;

/// LLT numbers its nodes from 0 to 31.
pub(super) const IDS: usize = 32;

/// Reads llthosts: ids with their names, in order of id.
///
/// # Errors
/// Everything that is wrong with it, at once.
pub(super) fn parse(text: &str) -> Result<Vec<(u8, String)>, Vec<Mistake>> {
    let mut nodes: Vec<(u8, String)> = Vec::new();
    let mut mistakes = Vec::new();
    for (index, line) in text.lines().enumerate() {
        let mut words = line.split_whitespace().take_while(|word| !word.starts_with('#'));
        let Some(id) = words.next() else { continue };
        let mut read = || -> Result<(u8, String), String> {
            let number = id.parse().ok().filter(|number| usize::from(*number) < IDS);
            let number: u8 =
                number.ok_or_else(|| format!("`{id}` is no id of a node: 0 to {}", IDS - 1))?;
            let name = words.next().ok_or_else(|| format!("node `{id}` has no name"))?;
            if let Some(more) = words.next() {
                return Err(format!("`{more}` is one word too many"));
            }
            let name = short_name(name)?;
            if nodes.iter().any(|(other, _)| *other == number) {
                return Err(format!("two nodes have the id `{number}`"));
            }
            if nodes.iter().any(|(_, other)| *other == name) {
                return Err(format!("two nodes are called `{name}`"));
            }
            Ok((number, name))
        };
        match read() {
            Ok(node) => nodes.push(node),
            Err(text) => mistakes.push(Mistake { line: index + 1, text }),
        }
    }
    if nodes.is_empty() && mistakes.is_empty() {
        mistakes.push(Mistake { line: 0, text: "there is no node in it".into() });
    }
    nodes.sort();
    if mistakes.is_empty() { Ok(nodes) } else { Err(mistakes) }
}

/// Reads sysname, and the file that a `set-node` names: one word.
///
/// # Errors
/// When there is none, or it is no name.
pub(super) fn parse_name(text: &str) -> Result<String, Mistake> {
    let lines = text.lines().enumerate();
    let mut words =
        lines.flat_map(|(index, line)| line.split_whitespace().map(move |w| (index, w)));
    let Some((index, word)) = words.next() else {
        return Err(Mistake { line: 0, text: "there is no name in it".into() });
    };
    short_name(word).map_err(|text| Mistake { line: index + 1, text })
}

/// The name up to its first dot.
pub(super) fn short_name(word: &str) -> Result<String, String> {
    let name = word.split('.').next().unwrap_or_default();
    match node_name_error(name) {
        None => Ok(name.to_owned()),
        Some(why) => Err(format!("`{word}` is no name of a node: {why}")),
    }
}
