//! The composition of the layers, with two or three nodes on a wire made for the test: how they
//! form a view, how a service moves, and every way from one life to the next or to the end.
//!
//! What the layers do alone is tested where they are; what happens to a whole cluster under faults
//! is the simulator's. Here are the stories that only the composition can tell, one by one.

mod fencing;
mod field;
mod lives;
mod networks;
mod views;
