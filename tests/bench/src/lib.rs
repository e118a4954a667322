//! What the bench and the heavy tests share: the runner as its Job starts it, on this machine, with what it used; and
//! databases to back up. Starts processes. Servers that do not start are a panic.

pub mod data;
pub mod figure;
pub mod image;
pub mod machine;
pub mod usage;
pub mod world;
