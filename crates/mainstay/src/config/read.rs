//! Takes values out of a TOML tree; every wrong type and every key left over is a finding.

use std::collections::BTreeSet;
use std::ops::Range;
use std::time::Duration;

use base::limits::NAME_SIZE_MAX;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::diagnostic::Diagnostics;
use super::{duration, suggest};

/// A value with its place.
pub(super) type Value<'a> = Spanned<DeValue<'a>>;
/// A place in the text, in bytes.
pub(super) type Span = Range<usize>;

/// Something read, with its place.
#[derive(Clone, Debug)]
pub(super) struct Placed<T> {
    pub(super) value: T,
    pub(super) span: Span,
}

/// A table whose keys are taken one by one.
pub(super) struct Section<'a> {
    /// What it is, for messages: `[cluster]`, `a [[node]]`.
    what: &'static str,
    table: &'a DeTable<'a>,
    pub(super) span: Span,
    known: BTreeSet<&'static str>,
}

impl<'a> Section<'a> {
    pub(super) fn new(what: &'static str, table: &'a DeTable<'a>, span: Span) -> Section<'a> {
        Section { what, table, span, known: BTreeSet::new() }
    }

    /// The value of `key`, if it is there.
    pub(super) fn take(&mut self, key: &'static str) -> Option<&'a Value<'a>> {
        self.known.insert(key);
        self.table.get(key)
    }

    /// The value of `key`; a finding when it is missing.
    pub(super) fn require(
        &mut self,
        key: &'static str,
        example: &str,
        found: &mut Diagnostics,
    ) -> Option<&'a Value<'a>> {
        let value = self.take(key);
        if value.is_none() {
            found
                .error(self.span.clone(), format!("{} has no `{key}`", self.what))
                .help(format!("add `{key} = {example}`"));
        }
        value
    }

    /// Takes `key` as text.
    pub(super) fn text(
        &mut self,
        key: &'static str,
        found: &mut Diagnostics,
    ) -> Option<Placed<&'a str>> {
        text(self.take(key)?, key, found)
    }

    /// Takes `key` as a duration within `limits`.
    pub(super) fn duration(
        &mut self,
        key: &'static str,
        limits: std::ops::RangeInclusive<Duration>,
        found: &mut Diagnostics,
    ) -> Option<Placed<Duration>> {
        let value = self.take(key)?;
        if let DeValue::Integer(number) = value.get_ref() {
            found
                .error(value.span(), format!("`{key}` has no unit"))
                .help(format!("write \"{number}s\" or \"{number}ms\""));
            return None;
        }
        let Placed { value, span } = text(value, key, found)?;
        match duration::parse(value) {
            Err(sentence) => {
                found.error(span, format!("`{key}`: {sentence}"));
                None
            }
            Ok(read) if !limits.contains(&read) => {
                let (least, most) =
                    (duration::format(*limits.start()), duration::format(*limits.end()));
                found
                    .error(span, format!("`{key}` is out of range"))
                    .label(format!("{least} to {most}"));
                None
            }
            Ok(read) => Some(Placed { value: read, span }),
        }
    }

    /// Takes `key` as true or false.
    pub(super) fn boolean(
        &mut self,
        key: &'static str,
        found: &mut Diagnostics,
    ) -> Option<Placed<bool>> {
        let value = self.take(key)?;
        if let DeValue::Boolean(read) = value.get_ref() {
            return Some(Placed { value: *read, span: value.span() });
        }
        let kind = article(value.get_ref().type_str());
        found
            .error(value.span(), format!("`{key}` must be true or false and is {kind}"))
            .help(format!("write {key} = true or {key} = false, without quotation marks"));
        None
    }

    /// Takes `key` as a whole number within `limits`.
    pub(super) fn number(
        &mut self,
        key: &'static str,
        limits: std::ops::RangeInclusive<u64>,
        found: &mut Diagnostics,
    ) -> Option<Placed<u64>> {
        number(self.take(key)?, key, limits, found)
    }

    /// Takes `key` as an array of tables; an absent one is empty.
    pub(super) fn tables(
        &mut self,
        key: &'static str,
        what: &'static str,
        found: &mut Diagnostics,
    ) -> Vec<Section<'a>> {
        let Some(value) = self.take(key) else { return Vec::new() };
        let DeValue::Array(items) = value.get_ref() else {
            found
                .error(value.span(), format!("`{key}` is not a list of tables"))
                .help(format!("write each one as `[[{key}]]` with its keys below it"));
            return Vec::new();
        };
        let mut sections = Vec::new();
        for item in items {
            match table(item, what, found) {
                Some(section) => sections.push(section),
                None => continue,
            }
        }
        sections
    }

    /// Takes all keys with their values, whatever they are called.
    pub(super) fn entries(self) -> impl Iterator<Item = (Placed<&'a str>, &'a Value<'a>)> {
        self.table
            .iter()
            .map(|(key, value)| (Placed { value: key.get_ref().as_ref(), span: key.span() }, value))
    }

    /// Whatever was not taken is an error.
    pub(super) fn finish(self, found: &mut Diagnostics) {
        for key in self.table.keys() {
            let name: &str = key.get_ref();
            if self.known.contains(name) {
                continue;
            }
            let known: Vec<&str> = self.known.iter().copied().collect();
            let finding = found.error(key.span(), format!("{} has no key `{name}`", self.what));
            match suggest::nearest(name, known.iter().copied()) {
                Some(near) => finding.help(format!("did you mean `{near}`?")),
                None => finding.help(format!("it knows: {}", known.join(", "))),
            };
        }
    }
}

/// Reads a value as a table.
pub(super) fn table<'a>(
    value: &'a Value<'a>,
    what: &'static str,
    found: &mut Diagnostics,
) -> Option<Section<'a>> {
    match value.get_ref() {
        DeValue::Table(table) => Some(Section::new(what, table, value.span())),
        other => {
            let kind = other.type_str();
            found.error(value.span(), format!("{what} must be a table and is {}", article(kind)));
            None
        }
    }
}

/// Reads a value as text.
pub(super) fn text<'a>(
    value: &'a Value<'a>,
    key: &str,
    found: &mut Diagnostics,
) -> Option<Placed<&'a str>> {
    match value.get_ref() {
        DeValue::String(text) => Some(Placed { value: text.as_ref(), span: value.span() }),
        other => {
            let kind = other.type_str();
            let finding = found.error(
                value.span(),
                format!("`{key}` must be text in quotes and is {}", article(kind)),
            );
            if let DeValue::Integer(number) = other {
                finding.help(format!("write \"{number}\""));
            }
            None
        }
    }
}

/// Reads a value as a whole number within `limits`.
pub(super) fn number(
    value: &Value<'_>,
    key: &str,
    limits: std::ops::RangeInclusive<u64>,
    found: &mut Diagnostics,
) -> Option<Placed<u64>> {
    let DeValue::Integer(written) = value.get_ref() else {
        let kind = value.get_ref().type_str();
        let finding = found.error(
            value.span(),
            format!("`{key}` must be a whole number and is {}", article(kind)),
        );
        if let DeValue::String(text) = value.get_ref()
            && text.parse::<u64>().is_ok()
        {
            finding.help(format!("write {text} without quotes"));
        }
        return None;
    };
    match u64::from_str_radix(written.as_str(), written.radix()) {
        Ok(read) if limits.contains(&read) => Some(Placed { value: read, span: value.span() }),
        _ => {
            found.error(value.span(), format!("`{key}` is out of range")).label(format!(
                "{} to {}",
                limits.start(),
                limits.end()
            ));
            None
        }
    }
}

/// Reads a value as a list of texts.
pub(super) fn texts<'a>(
    value: &'a Value<'a>,
    key: &str,
    found: &mut Diagnostics,
) -> Option<Vec<Placed<&'a str>>> {
    let DeValue::Array(items) = value.get_ref() else {
        let kind = value.get_ref().type_str();
        let finding =
            found.error(value.span(), format!("`{key}` must be a list and is {}", article(kind)));
        if let DeValue::String(text) = value.get_ref() {
            let words: Vec<String> =
                text.split_whitespace().map(|word| format!("\"{word}\"")).collect();
            finding.help(format!("write {key} = [{}]", words.join(", ")));
        }
        return None;
    };
    let before = items.len();
    let read: Vec<_> = items.iter().filter_map(|item| text(item, key, found)).collect();
    (read.len() == before).then_some(read)
}

/// Reads one of a few words; what each stands for is in the table.
pub(super) fn choice<T: Copy>(
    written: &Placed<&str>,
    key: &str,
    words: &[(&str, T)],
    found: &mut Diagnostics,
) -> Option<T> {
    if let Some((_, meaning)) = words.iter().find(|(word, _)| *word == written.value) {
        return Some(*meaning);
    }
    let all: Vec<String> = words.iter().map(|(word, _)| format!("\"{word}\"")).collect();
    let finding = found
        .error(written.span.clone(), format!("`{key}` can not be \"{}\"", written.value))
        .label(format!("one of {}", all.join(", ")));
    if let Some(near) = suggest::nearest(written.value, words.iter().map(|(word, _)| *word)) {
        finding.help(format!("did you mean \"{near}\"?"));
    }
    None
}

/// Checks a name: it stands in commands, file names, control groups and addresses of the API.
pub(super) fn name(written: &Placed<&str>, what: &str, found: &mut Diagnostics) -> Option<String> {
    match name_error(written.value) {
        None => Some(written.value.to_owned()),
        Some(sentence) => {
            found
                .error(written.span.clone(), format!("\"{}\" is no name for {what}", written.value))
                .label(sentence)
                .help("use letters, digits, `-`, `_` and `.`, beginning with a letter or digit");
            None
        }
    }
}

/// Why `name` can not be the name of anything.
pub(crate) fn name_error(name: &str) -> Option<String> {
    let allowed = |character: char| character.is_ascii_alphanumeric() || "-_.".contains(character);
    match name.chars().next() {
        None => Some("it is empty".into()),
        _ if name.len() > NAME_SIZE_MAX => Some(format!("it is longer than {NAME_SIZE_MAX} bytes")),
        Some(first) if !first.is_ascii_alphanumeric() => Some(format!("it begins with `{first}`")),
        _ => name
            .chars()
            .find(|character| !allowed(*character))
            .map(|character| format!("it contains `{}`", character.escape_default())),
    }
}

fn article(kind: &str) -> String {
    match kind.chars().next() {
        Some('a' | 'e' | 'i' | 'o') => format!("an {kind}"),
        _ => format!("a {kind}"),
    }
}
