//! Groups in lock-step over perfect channels: what each rule does when nothing else goes wrong.
//! Everything that goes wrong at once is the simulator's.

mod arbiters;
mod forming;
mod lasting;
mod watching;
mod world;
