//! A mesh of transports over simulated networks: paths, lives, channels and refused frames.

mod channels;
mod lives;
mod mesh;
mod paths;
mod refused;
mod ring;
mod shared;
