//! Where text goes.

use std::io::{self, IsTerminal, Write};

use serde::Serialize;

use crate::render::{Colour, Style};

/// The reader of our output is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Closed;

/// Standard output and how it may look.
pub(super) struct Output {
    style: Style,
    error_style: Style,
    json: bool,
}

impl Output {
    /// Colour and width only where a person looks at it.
    pub(super) fn of_this_process(json: bool, no_colour: bool) -> Output {
        let terminal = io::stdout().is_terminal();
        let width = if terminal {
            rustix::termios::tcgetwinsize(io::stdout()).ok().map(|size| usize::from(size.ws_col))
        } else {
            None
        };
        let width = width.filter(|width| *width >= 20).unwrap_or(usize::MAX);
        let errors = io::stderr().is_terminal() && !no_colour;
        Output {
            style: Style { colour: terminal && !no_colour, width },
            error_style: Style { colour: errors, width: usize::MAX },
            json,
        }
    }

    pub(super) fn is_json(&self) -> bool {
        self.json
    }

    pub(super) fn style(&self) -> Style {
        self.style
    }

    /// Whether standard error is a terminal that takes colour.
    pub(super) fn has_error_colour(&self) -> bool {
        self.error_style.colour
    }

    /// Prints whole lines.
    pub(super) fn print(&self, text: &str) -> Result<(), Closed> {
        let mut stdout = io::stdout().lock();
        stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()).map_err(|_| Closed)
    }

    /// Prints a value as JSON for a person's eyes and a program's parser.
    pub(super) fn json(&self, value: &impl Serialize) -> Result<(), Closed> {
        let mut text =
            serde_json::to_string_pretty(value).expect("types of this program can be written");
        text.push('\n');
        self.print(&text)
    }

    /// Prints one or the other.
    pub(super) fn show<T: Serialize>(
        &self,
        value: &T,
        render: impl FnOnce(&T, Style) -> String,
    ) -> Result<(), Closed> {
        if self.json { self.json(value) } else { self.print(&render(value, self.style)) }
    }

    /// Says on standard error what is wrong, and what to do.
    pub(super) fn complain(&self, message: &str, help: Option<&str>) {
        let word = self.error_style.paint(Colour::Bad, "mainstay:");
        let mut text = format!("{word} {message}\n");
        if let Some(help) = help {
            let word = self.error_style.paint(Colour::Head, "help:");
            text.push_str(&format!("  {word} {help}\n"));
        }
        self.note(&text);
    }

    /// Prints on standard error. When that is closed there is nobody to tell.
    pub(super) fn note(&self, text: &str) {
        let _nobody_reads = io::stderr().lock().write_all(text.as_bytes());
    }
}
