//! Colour, width, and how long things took.

use api::v1::{NodeState, PathState, ServiceState, Verdict};

/// How text may look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Style {
    /// Whether colour may be used.
    pub colour: bool,
    /// Columns of the screen; lines of tables are cut there. `usize::MAX` for no screen.
    pub width: usize,
}

impl Style {
    /// For files and pipes: no colour, whole lines.
    pub const PLAIN: Style = Style { colour: false, width: usize::MAX };

    /// Paints a text.
    #[must_use]
    pub fn paint(self, colour: Colour, text: &str) -> String {
        match (self.colour, colour.code()) {
            (true, Some(code)) if !text.is_empty() => format!("\x1b[{code}m{text}\x1b[0m"),
            _ => text.to_owned(),
        }
    }
}

/// What a word means for its reader.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Colour {
    /// Nothing special.
    #[default]
    Plain,
    /// As it should be.
    Good,
    /// Look at it.
    Odd,
    /// Do something.
    Bad,
    /// A heading.
    Head,
    /// Less important.
    Faint,
}

impl Colour {
    /// Select Graphic Rendition (ECMA-48, 8.3.117).
    fn code(self) -> Option<&'static str> {
        match self {
            Colour::Plain => None,
            Colour::Good => Some("32"),
            Colour::Odd => Some("33"),
            Colour::Bad => Some("1;31"),
            Colour::Head => Some("1"),
            Colour::Faint => Some("2"),
        }
    }
}

impl From<Verdict> for Colour {
    fn from(verdict: Verdict) -> Colour {
        match verdict {
            Verdict::Ok => Colour::Good,
            Verdict::Degraded | Verdict::Unknown => Colour::Odd,
            Verdict::Down | Verdict::NoView => Colour::Bad,
        }
    }
}

impl From<NodeState> for Colour {
    fn from(state: NodeState) -> Colour {
        match state {
            NodeState::Member => Colour::Good,
            NodeState::Joining | NodeState::Sealed => Colour::Odd,
            NodeState::Unseeded | NodeState::Lost | NodeState::Unknown => Colour::Bad,
        }
    }
}

impl From<PathState> for Colour {
    fn from(state: PathState) -> Colour {
        match state {
            PathState::Alive => Colour::Good,
            PathState::Resting => Colour::Plain,
            PathState::Trouble | PathState::Unknown => Colour::Odd,
            PathState::Dead => Colour::Bad,
        }
    }
}

impl From<ServiceState> for Colour {
    fn from(state: ServiceState) -> Colour {
        match state {
            ServiceState::Running => Colour::Good,
            ServiceState::Stopped => Colour::Plain,
            ServiceState::Starting | ServiceState::Stopping | ServiceState::Unknown => Colour::Odd,
            ServiceState::Partial
            | ServiceState::Failed
            | ServiceState::BrokenSafe
            | ServiceState::BrokenUnsafe => Colour::Bad,
        }
    }
}

/// Milliseconds for people: `40 ms`, `1.2 s`, `3 min`, `2 h 5 min`, `5 d`.
#[must_use]
pub fn duration(millis: u64) -> String {
    let seconds = millis / 1000;
    match seconds {
        0 => format!("{millis} ms"),
        1..10 => format!("{}.{} s", seconds, millis % 1000 / 100),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => match seconds % 3_600 / 60 {
            0 => format!("{} h", seconds / 3_600),
            minutes => format!("{} h {minutes} min", seconds / 3_600),
        },
        _ => format!("{} d", seconds / 86_400),
    }
}

/// Microseconds for people: `0.3 ms`, `12 ms`.
pub(super) fn fine(micros: u64) -> String {
    match micros {
        0..10_000 => format!("{}.{} ms", micros / 1000, micros % 1000 / 100),
        _ => duration(micros / 1000),
    }
}
