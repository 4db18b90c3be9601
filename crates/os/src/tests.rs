//! Tests that use the kernel for real.
