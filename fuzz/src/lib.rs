//! The bodies of the fuzz targets.

pub mod config;
pub mod program;
pub mod targets;
