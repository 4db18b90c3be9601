//! What is played on the machines, a module each.

use anyhow::Result;

use super::Bench;

mod network;
mod panic;
mod power_off;
mod reservation;
mod reserved;
mod watchdog;
mod writer;

/// A scenario.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scenario {
    /// The kernel of the active machine panics.
    Panic,
    /// The active machine loses its power.
    PowerOff,
    /// A card of a bond loses its carrier; a network loses and delays frames.
    Network,
    /// Guard and daemon of a machine with a storage service are stopped; its watchdog resets it.
    Watchdog,
    /// The same beside a service that writes to a shared disk until the reset.
    Writer,
    /// A machine takes the reservation of a shared disk from another one.
    Reservation,
    /// A service takes its disk from a machine that goes on writing.
    Reserved,
}

impl Scenario {
    /// All, in the order in which they are played.
    pub const ALL: [Self; 7] = [
        Self::Panic,
        Self::PowerOff,
        Self::Network,
        Self::Watchdog,
        Self::Writer,
        Self::Reservation,
        Self::Reserved,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Panic => "panic",
            Self::PowerOff => "power-off",
            Self::Network => "network",
            Self::Watchdog => "watchdog",
            Self::Writer => "writer",
            Self::Reservation => "reservation",
            Self::Reserved => "reserved",
        }
    }

    /// What happens in it.
    #[must_use]
    pub fn text(self) -> &'static str {
        match self {
            Self::Panic => "the kernel of the active machine panics and restarts after a while",
            Self::PowerOff => "the active machine loses its power and gets it back",
            Self::Network => "a bond loses a cable, then a network loses and delays; nothing moves",
            Self::Watchdog => {
                "guard and daemon are stopped beside a storage service; the watchdog resets"
            }
            Self::Writer => "the same, and the service writes to a shared disk until the reset",
            Self::Reservation => {
                "a reservation of a shared disk is pre-empted; the loser's writes fail"
            }
            Self::Reserved => {
                "a service takes its disk from a machine whose guard and daemon are stopped, and that writes on"
            }
        }
    }

    /// The scenario of that name.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|scenario| scenario.name() == name)
    }

    /// Plays it; the sentences of what was seen.
    ///
    /// # Errors
    /// What did not hold.
    pub fn play(self, bench: &Bench) -> Result<Vec<String>> {
        match self {
            Self::Panic => panic::play(bench),
            Self::PowerOff => power_off::play(bench),
            Self::Network => network::play(bench),
            Self::Watchdog => watchdog::play(bench),
            Self::Writer => writer::play(bench),
            Self::Reservation => reservation::play(bench),
            Self::Reserved => reserved::play(bench),
        }
    }
}
