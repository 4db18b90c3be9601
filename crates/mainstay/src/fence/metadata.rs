//! What an agent says about itself: the names of its options and actions, out of the XML that it
//! prints for `action=metadata` (the resource agents' format, `<parameter name="…">`).
//!
//! Nothing else of the document is needed, so this is no XML parser: it looks for the two elements and
//! takes their first attribute `name`.

use std::collections::BTreeSet;

/// The options and actions of an agent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata {
    /// Names of options.
    pub options: BTreeSet<String>,
    /// Names of actions.
    pub actions: BTreeSet<String>,
}

/// Reads a metadata document; what is none has no options.
#[must_use]
pub fn parse(text: &str) -> Metadata {
    Metadata { options: names(text, "parameter"), actions: names(text, "action") }
}

fn names(text: &str, element: &str) -> BTreeSet<String> {
    let opening = format!("<{element}");
    let mut names = BTreeSet::new();
    let mut rest = text;
    while let Some(at) = rest.find(&opening) {
        rest = &rest[at + opening.len()..];
        // Not the beginning of a longer word.
        if !rest.starts_with(char::is_whitespace) {
            continue;
        }
        let inside = &rest[..rest.find('>').unwrap_or(rest.len())];
        let quoted = inside.split_once("name=").map(|(_, after)| after);
        let Some(quote) = quoted.and_then(|text| text.chars().next()) else { continue };
        let name = quoted.and_then(|text| text[1..].split_once(quote)).map(|(name, _)| name);
        if let (Some(name), '"' | '\'') = (name, quote) {
            names.insert(name.to_owned());
        }
    }
    names
}

#[cfg(test)]
mod tests;
