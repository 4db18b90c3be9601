//! What is compared, and what each of them has to be able to do in a lab.

use anyhow::{Result, bail};
use lab::Lab;

use super::{corosync, keepalived, mainstay};

/// A product with one configuration.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Product {
    /// Mainstay, preset `fast`.
    MainstayFast,
    /// Mainstay, preset `normal`: the default.
    MainstayNormal,
    /// keepalived with an advertisement every 0.1 s.
    KeepalivedTenth,
    /// keepalived with an advertisement every second: the default.
    KeepalivedSecond,
    /// Corosync and Pacemaker with their defaults.
    Pacemaker,
    /// Corosync alone: nothing moves, it is there to be weighed.
    Corosync,
}

/// A product installed in a lab.
pub(crate) trait Installed {
    /// Writes its files and starts it on all nodes.
    fn start(&mut self, lab: &mut Lab) -> Result<()>;

    /// True when all nodes take part and nothing is going on, as far as the product can tell.
    fn is_settled(&mut self, lab: &mut Lab) -> Result<bool>;

    /// Asks for the address to leave a node in the product's own graceful way.
    fn begin_move(&mut self, lab: &mut Lab, from: &str) -> Result<()>;

    /// Takes back what the wish has left behind, so that the next one starts from the same place.
    fn end_move(&mut self, lab: &mut Lab, from: &str) -> Result<()>;
}

impl Product {
    /// All, in the order of the tables.
    pub const ALL: [Self; 6] = [
        Self::MainstayFast,
        Self::MainstayNormal,
        Self::KeepalivedTenth,
        Self::KeepalivedSecond,
        Self::Pacemaker,
        Self::Corosync,
    ];

    /// Its name on a command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::MainstayFast => "mainstay-fast",
            Self::MainstayNormal => "mainstay-normal",
            Self::KeepalivedTenth => "keepalived-0.1",
            Self::KeepalivedSecond => "keepalived-1",
            Self::Pacemaker => "pacemaker",
            Self::Corosync => "corosync",
        }
    }

    /// Its name in a table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::MainstayFast => "Mainstay, `fast`",
            Self::MainstayNormal => "Mainstay, `normal`",
            Self::KeepalivedTenth => "keepalived, adverts every 0.1 s",
            Self::KeepalivedSecond => "keepalived, adverts every 1 s",
            Self::Pacemaker => "Corosync + Pacemaker, defaults",
            Self::Corosync => "Corosync alone",
        }
    }

    /// The product of that name.
    ///
    /// # Errors
    /// When there is none.
    pub fn named(name: &str) -> Result<Self> {
        match Self::ALL.into_iter().find(|product| product.name() == name) {
            Some(product) => Ok(product),
            None => bail!("there is no product {name}"),
        }
    }

    /// Whether there is an address that can move.
    #[must_use]
    pub fn has_address(self) -> bool {
        self != Self::Corosync
    }

    pub(crate) fn install(self) -> Box<dyn Installed> {
        match self {
            Self::MainstayFast => Box::new(mainstay::Mainstay { detection: "fast", many: None }),
            Self::MainstayNormal => {
                Box::new(mainstay::Mainstay { detection: "normal", many: None })
            }
            Self::KeepalivedTenth => {
                Box::new(keepalived::Keepalived { interval: "0.1", many: None })
            }
            Self::KeepalivedSecond => {
                Box::new(keepalived::Keepalived { interval: "1", many: None })
            }
            Self::Pacemaker => Box::new(corosync::Corosync { with_pacemaker: true }),
            Self::Corosync => Box::new(corosync::Corosync { with_pacemaker: false }),
        }
    }
}

/// Runs a program on a node, which must succeed; gives what it printed.
pub(crate) fn demand(lab: &mut Lab, node: &str, words: &[&str]) -> Result<String> {
    lab::corosync::run(lab, node, words)
}
