//! What the benches and the heavy tests share: the runner as its Job starts it, on this machine, with what it used; databases to back
//! up; figures and their page. Starts processes. Servers that do not start are a panic.

pub mod data;
pub mod figure;
pub mod image;
pub mod machine;
pub mod page;
pub mod usage;
pub mod versions;
pub mod world;
