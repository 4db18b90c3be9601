//! The management API: what a daemon says and accepts over its unix socket, and a client for it.
//!
//! One API for everybody: the command line, the web page, metrics and other people's programs all
//! read the types of [`v1`] as JSON, so nothing is known only to our own tools. The program's HTTP
//! server answers with these types; [`client::Client`] asks for them.
//!
//! **Rule of growth:** within schema [`v1::SCHEMA`] fields and values are only added. So readers
//! take missing fields for their default, skip fields they do not know, and turn unknown values of
//! an enumeration into `Unknown`; a script written today reads a daemon of tomorrow.
//!
//! **Times.** Durations are whole milliseconds (`…_ms`) or microseconds (`…_us`), never dates:
//! clocks of nodes differ. A fact that came from another node carries its age, so that nobody takes
//! an old fact for a present one. Moments in the journal are wall-clock time (RFC 3339) of the node
//! that wrote the line, for people; their order is the entries' order, not their time.

pub mod client;
pub mod openapi;
pub mod v1;
