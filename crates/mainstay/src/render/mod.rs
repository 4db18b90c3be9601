//! What people see: pure functions from the API's types to text.
//!
//! Nothing here asks anything or prints anything, so that every picture can be a test. Colour is
//! only ever added to words that say the same without it.

mod bound;
mod discover;
mod disk;
mod fence;
mod gate;
mod journal;
mod membership;
mod network;
mod paths;
mod reservation;
mod risks;
mod services;
mod status;
mod style;
mod table;
mod watchdog;

pub use bound::bound;
pub use discover::discovery;
pub use disk::{
    DiskArea, DiskCheck, DiskDevice, DiskFinding, DiskLatency, DiskMark, DiskPair, DiskShow,
    DiskSlot, disk_check, disk_show, size,
};
pub use fence::{fence_history, fence_node, fence_verification, fencing};
pub use gate::gate;
pub(crate) use journal::stamp;
pub use journal::{event, events, notes};
pub use membership::{membership, node, nodes};
pub use network::networks;
pub use paths::{Paths, missing_half, path_tests, paths, paths_in_full};
pub use reservation::{Reservation, ReservationKey, reservation};
pub use risks::risks;
pub use services::{service, services};
pub use status::{leaving, status};
pub use style::{Colour, Style, duration};
pub use watchdog::{WatchdogFeeding, WatchdogHolder, WatchdogTest, watchdog, watchdog_test};

#[cfg(test)]
mod tests;
