//! Arguments of the form `key=value`, taken one by one so that none is left unread.

use std::collections::BTreeMap;
use std::fmt::Display;

/// The `key=value` arguments that nobody has asked for yet.
#[derive(Debug)]
pub struct Arguments(BTreeMap<String, String>);

impl Arguments {
    /// Splits the arguments; a word without `=`, or a key given twice, is refused.
    pub fn parse(words: impl IntoIterator<Item = String>) -> Result<Arguments, String> {
        let mut arguments = BTreeMap::new();
        for word in words {
            let (key, value) = word
                .split_once('=')
                .ok_or_else(|| format!("`{word}` is not of the form key=value"))?;
            if arguments.insert(key.to_string(), value.to_string()).is_some() {
                return Err(format!("`{key}` is given twice"));
            }
        }
        Ok(Arguments(arguments))
    }

    /// The number given for `key`, or `default`.
    pub fn number(&mut self, key: &str, default: u64, greatest: u64) -> Result<u64, String> {
        let Some(value) = self.0.remove(key) else { return Ok(default) };
        match value.parse() {
            Ok(number) if number <= greatest => Ok(number),
            _ => Err(format!("{key}={value}: a whole number up to {greatest} is expected")),
        }
    }

    /// As [`Arguments::number`], for the small numbers that models are made of.
    pub fn small(&mut self, key: &str, default: u8, greatest: u8) -> Result<u8, String> {
        self.number(key, default.into(), greatest.into())
            .map(|number| u8::try_from(number).expect("it is at most a u8"))
    }

    /// `yes` or `no`.
    pub fn flag(&mut self, key: &str, default: bool) -> Result<bool, String> {
        self.choice(key, &[("yes", true), ("no", false)]).map(|value| value.unwrap_or(default))
    }

    /// One of several names, if `key` is given.
    pub fn choice<T: Copy>(
        &mut self,
        key: &str,
        choices: &[(&'static str, T)],
    ) -> Result<Option<T>, String> {
        let Some(value) = self.0.remove(key) else { return Ok(None) };
        let found = choices.iter().find(|(name, _)| *name == value).map(|(_, choice)| *choice);
        found.map(Some).ok_or_else(|| {
            format!("{key}={value}: one of {} is expected", list(choices.iter().map(|c| c.0)))
        })
    }

    /// Refuses arguments that nothing has asked for.
    pub fn finish(self) -> Result<(), String> {
        match self.0.keys().next() {
            None => Ok(()),
            Some(key) => Err(format!("`{key}` is not an argument of this model")),
        }
    }
}

fn list(names: impl Iterator<Item = impl Display>) -> String {
    names.map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}
